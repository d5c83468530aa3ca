// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package urltest checks what a backend says of any URL that it is given, for
// the fuzz tests of all of them.
package urltest

import (
	"strings"
	"testing"

	"github.com/golocker/locker/backend"
)

// Check fails a test if what say makes of a target, an error for one, tells
// anything of its password, or has several lines.
//
// It looks for no password in the text, where a host of the same name would be
// taken for it: the text must be the same with another password.
func Check(t testing.TB, target backend.Target, say func(backend.Target) string) {
	t.Helper()
	text := say(target)
	if strings.ContainsAny(text, "\n\r") {
		t.Errorf("of several lines: %q", text)
	}
	if target.Password == "" {
		return
	}
	with := func(mark backend.Secret) string {
		changed := target
		changed.Password = mark + target.Password + mark
		return say(changed)
	}
	if one, other := with("1"), with("2"); one != other {
		t.Errorf("it depends on the password:\n%s\n%s", one, other)
	}
}
