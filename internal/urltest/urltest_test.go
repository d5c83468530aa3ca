// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package urltest

import (
	"testing"

	"github.com/golocker/locker/backend"
)

// A failing counts the errors of a test.
type failing struct {
	testing.TB
	errors int
}

func (f *failing) Errorf(string, ...any) { f.errors++ }

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		password backend.Secret
		say      func(backend.Target) string
		errors   int
	}{
		{"h", func(t backend.Target) string { return "no host " + t.Hosts[0] }, 0},
		{"h", func(t backend.Target) string { return t.Password.String() }, 0},
		{"h", func(t backend.Target) string { return "no " + t.Password.Reveal() }, 1},
		{"h", func(t backend.Target) string { return t.Password.Reveal()[:1] }, 1},
		{"", func(t backend.Target) string { return t.Password.Reveal() }, 0},
		{"", func(backend.Target) string { return "a\nb" }, 1},
	} {
		f := &failing{TB: t}
		target := backend.Target{Hosts: []string{"h"}, Password: c.password}
		if Check(f, target, c.say); f.errors != c.errors {
			t.Errorf("%q: %d errors, want %d", c.say(target), f.errors, c.errors)
		}
	}
}
