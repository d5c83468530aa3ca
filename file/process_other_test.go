// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package file

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/golocker/locker/conformance"
)

func TestMain(m *testing.M) {
	conformance.Child()
	os.Exit(m.Run())
}

// unwritable returns a directory that cannot be made.
func unwritable(t *testing.T) string { return filepath.Join(t.TempDir(), "a\x00b") }
