// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/urltest"
)

func open(t *testing.T, rawURL string) (*Backend, error) {
	t.Helper()
	target, err := backend.ParseTarget(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	if target.TTL == 0 {
		target.TTL = time.Minute
	}
	b, err := backend.Open(t.Context(), target)
	if err != nil {
		return nil, err
	}
	return b.(*Backend), nil
}

func TestURLNamesAStore(t *testing.T) {
	for url, name := range map[string]string{
		"memory://":                   "",
		"memory:///":                  "",
		"memory://?ttl=5s":            "",
		"memory://test":               "test",
		"MEMORY://test/":              "test",
		"memory:///test":              "test",
		"memory://test/a":             "test/a",
		"memory:///test/a":            "test/a",
		"memory://test:1,[::1]:2/%2F": "test:1,[::1]:2",
		"memory://Test":               "Test",
		"memory://test/a%20b":         "test/a b",
	} {
		b, err := open(t, url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if b.Store() != Named(name) {
			t.Errorf("%s is not a client of the store %q", url, name)
		}
	}
	names := []string{"", "test", "test/a", "Test", "a"}
	seen := map[*Store]string{}
	for _, name := range names {
		if other, taken := seen[Named(name)]; taken {
			t.Errorf("%q and %q are one store", name, other)
		}
		seen[Named(name)] = name
	}
}

func TestURLRefusals(t *testing.T) {
	for url, want := range map[string]string{
		"memory://me@test":       "user or password",
		"memory://:hunter2@test": "user or password",
		"memory://test?prefix=x": `unknown parameter "prefix"; known: ttl`,
	} {
		_, err := open(t, url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want one with %q", url, err, want)
		}
	}
}

func TestClientsOfAStoreContend(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		own := New()
		held := lock(a, "job")
		held.wantHolds(t)
		lock(own, "job").wantHolds(t)
		waiting := lock(b, "job")
		waiting.wantWaits(t)
		further := lock(b.Store().Backend(), "job")
		further.wantWaits(t)
		further.cancel()
		unlock(t, a, held)
		waiting.wantHolds(t)
		unlock(t, b, waiting)
	})
}

func FuzzURL(f *testing.F) {
	f.Add("")
	f.Add("name/path?ttl=1s")
	f.Add("user:hunter2@name")
	f.Fuzz(func(t *testing.T, rest string) {
		target, err := backend.ParseTarget("memory://" + rest)
		if err != nil {
			return
		}
		name, err := storeName(target)
		if refused := target.User != "" || target.Password != ""; refused != (err != nil) {
			t.Fatalf("%q: error %v", rest, err)
		}
		urltest.Check(t, target, func(target backend.Target) string {
			_, err := storeName(target)
			return fmt.Sprint(err)
		})
		if err == nil && Named(name) != Named("/"+name+"/") {
			t.Fatalf("%q: slashes at the ends of %q make another store", rest, name)
		}
	})
}
