// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// DefaultDir returns the directory for lock files of a user who named none:
// $XDG_STATE_HOME/locker, else $HOME/.local/state/locker. No cleaner works
// there. A relative $XDG_STATE_HOME is ignored, as the XDG Base Directory
// Specification demands.
func DefaultDir() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "locker"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errors.New("no directory for lock files: neither $XDG_STATE_HOME nor $HOME is set to an absolute path")
	}
	return filepath.Join(home, ".local", "state", "locker"), nil
}

// prepare creates the directory and tries there what Lock will need, so that an
// unfit one is found when it is opened.
func (b *Backend) prepare() (err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("directory %s of the lock files: %w", b.dir, err)
	}
	f, err := os.CreateTemp(b.dir, "probe-*")
	if err != nil {
		return fmt.Errorf("directory %s of the lock files: %w", b.dir, err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := tryLock(f); err != nil {
		return fmt.Errorf("flock does not work in %s: %w", b.dir, err)
	}
	return nil
}
