// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"slices"
	"strings"
	"testing"

	"github.com/golocker/locker/backend"
)

// crc16 is the one by which a cluster finds a key's slot: CCITT, XMODEM.
func crc16(s string) (crc uint16) {
	for _, b := range []byte(s) {
		crc ^= uint16(b) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// slot follows the words of the cluster specification: the part between the
// first { and the first } after it, unless there is none or it is empty.
func slot(key string) uint16 {
	if open := strings.IndexByte(key, '{'); open >= 0 {
		if length := strings.IndexByte(key[open+1:], '}'); length > 0 {
			key = key[open+1 : open+1+length]
		}
	}
	return crc16(key) % 16384
}

func TestSlot(t *testing.T) {
	for key, want := range map[string]uint16{"123456789": 12739, "foo": 12182, "{foo}bar": 12182, "{}foo": slot("{}foo")} {
		if got := slot(key); got != want {
			t.Errorf("%s: %d, want %d", key, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct{ prefix, name, lock, queue string }{
		{"", "n", "n", "{n}~~queue"},
		{"p:", "n", "p:n", "{p:n}~~queue"},
		{"", "{a}b", "{a}b", "{a}b~queue"},
		{"{p}", "n", "{p}n", "{p}n~queue"},
		{"", "a b", "a~20b", "{a~20b}~~queue"},
		{"", "a{b", "a{b", "{a{b}~~queue"},
		{"", "a}b", "a~7Db", "{a~7Db}~~queue"},
		{"", "{}b", "{~7Db", "{{~7Db}~~queue"},
		{"", "}{a}", "}{a}", "}{a}~queue"},
	} {
		k := keysOf(c.prefix, backend.Escape(c.name))
		if k.lock != c.lock || k.queue != c.queue {
			t.Errorf("%q %q: %+v", c.prefix, c.name, k)
		}
	}
}

func FuzzKeys(f *testing.F) {
	for _, seed := range []string{"n", "{a}b", "a}b", "{}", "{}}{", "}{", "{{a}}", "~7D", "}", "a{b"} {
		f.Add("p:", seed, "}")
		f.Add("{", seed, "{}")
		f.Add("}", seed, "~7D")
		f.Add("", seed, "{"+seed+"}")
	}
	f.Fuzz(func(t *testing.T, prefix, name, other string) {
		if (&Config{Prefix: prefix}).check() != nil || name == "" || other == "" {
			return
		}
		k := keysOf(prefix, backend.Escape(name))
		want := slot(k.lock)
		for _, key := range append(k.all("owner"), beside(k.lock, "client:x")) {
			if slot(key) != want {
				t.Errorf("%q is in slot %d, %q in %d", k.lock, want, key, slot(key))
			}
		}
		if o := keysOf(prefix, backend.Escape(other)); name != other {
			for _, key := range o.all("owner") {
				if slices.Contains(k.all("owner"), key) {
					t.Errorf("%q and %q share %q", name, other, key)
				}
			}
		}
	})
}
