// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"strings"
	"testing"
	"time"
)

// A key that is not a lock's is under no name, whatever the name.
func TestKeysApart(t *testing.T) {
	k := keys{prefix: "p/"}
	for _, name := range []string{"a", "a/b", "~gone", "~session", "~", "..", "/", "~gone/x"} {
		directory := k.directory(name)
		for _, other := range []string{k.tombstone("x"), k.session(255), k.contender(name+"/", 255, "x"), k.contender(name+"x", 255, "x")} {
			if strings.HasPrefix(other, directory) {
				t.Errorf("%q: %q is under %q", name, other, directory)
			}
		}
		own := k.contender(name, 255, "x")
		if rest := strings.TrimPrefix(own, directory); rest != "ff-x" {
			t.Errorf("%q: its key is %q", name, own)
		}
	}
}

func TestSeconds(t *testing.T) {
	for ttl, want := range map[time.Duration]int64{
		2 * time.Second: 2, 2*time.Second + 1: 3, 2500 * time.Millisecond: 3, time.Minute: 60,
	} {
		if got := seconds(ttl); got != want {
			t.Errorf("%v: %d, want %d", ttl, got, want)
		}
	}
}

func TestTooOld(t *testing.T) {
	for text, want := range map[string]string{
		"3.4.44": "3.5.23", "3.5.22": "3.5.23", "3.5.23": "", "3.5.24": "", "3.6.0": "3.6.5", "3.6.4": "3.6.5", "3.6.5": "",
		"3.7.0": "", "3.7.3": "", "4.0.0": "", "2.3.8": "3.5.23", "3.6.0-rc.1": "3.6.5", "3.6.5+git": "", "": "", "x": "", "3": "",
	} {
		least, old := tooOld(text)
		got := ""
		if old {
			got = least.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
