// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/golocker/locker/backend"
)

func TestHazard_G11a_Escape(t *testing.T) {
	for name, want := range map[string]string{
		"plain-Name_1.2:3": "plain-Name_1.2:3",
		"a/b":              "a~2Fb",
		"a b":              "a~20b",
		"100%":             "100~25",
		"~gone":            "~7Egone",
		".":                "~2E",
		"..":               "~2E~2E",
		"...":              "...",
		"a/../b":           "a~2F..~2Fb",
		"é":                "~C3~A9",
		"\x00\n\x7f":       "~00~0A~7F",
	} {
		if got := backend.Escape(name); got != want {
			t.Errorf("Escape(%q) = %q, want %q", name, got, want)
		}
	}
}

// Different names never share a key, no key has a separator, and none begins
// what an adapter keeps for itself, such as "~gone".
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"a", ".", "..", "a/b", "~2F", "~g", "%2F", "\xff", "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		key := backend.Escape(name)
		if key == "." || key == ".." || strings.ContainsAny(key, "/ %\x00\n") {
			t.Fatalf("Escape(%q) = %q", name, key)
		}
		// "~" plays the role of "%" in a URL, so the way back is known.
		back, err := url.PathUnescape(strings.ReplaceAll(key, "~", "%"))
		if err != nil || back != name {
			t.Fatalf("Escape(%q) = %q, which reads as %q (%v): two names may share it", name, key, back, err)
		}
	})
}
