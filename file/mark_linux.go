// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"

	"golang.org/x/sys/unix"
)

// mark lets Inspect see that f is locked, as Linux cannot be asked for flock(2)
// locks: it puts a record lock on the same open file description. The two kinds
// do not see each other but live and die together, and a record lock can be
// asked for without taking it. It excludes nobody, so an error costs no more
// than the answer to Inspect.
func mark(f *os.File) { _, _ = recordLock(f, unix.F_OFD_SETLK, unix.F_WRLCK) }

func unmark(f *os.File) { _, _ = recordLock(f, unix.F_OFD_SETLK, unix.F_UNLCK) }

// marked reports whether another open file description of the file has a mark.
func marked(f *os.File) (bool, error) {
	found, err := recordLock(f, unix.F_OFD_GETLK, unix.F_WRLCK)
	return found != unix.F_UNLCK, err
}

func recordLock(f *os.File, cmd int, kind int16) (int16, error) {
	lock := unix.Flock_t{Type: kind}
	err := control(f, func(fd uintptr) error { return unix.FcntlFlock(fd, cmd, &lock) })
	return lock.Type, err
}
