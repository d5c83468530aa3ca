// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package file

import (
	"os"

	"golang.org/x/sys/unix"
)

func mark(*os.File)   {}
func unmark(*os.File) {}

// marked reports whether anybody has locked the file: these kernels show
// flock(2) locks to those who ask for record locks.
func marked(f *os.File) (bool, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err := control(f, func(fd uintptr) error { return unix.FcntlFlock(fd, unix.F_GETLK, &lock) })
	return lock.Type != unix.F_UNLCK, err
}
