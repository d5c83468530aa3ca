// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"syscall"
	"time"
	"unsafe"
)

const (
	clockMonotonic = 1
	clockBoottime  = 7
)

// asleepAtStart is CLOCK_BOOTTIME − CLOCK_MONOTONIC when the process started.
var asleepAtStart = func() time.Duration {
	var most time.Duration
	for range 10 {
		most = max(most, asleep())
	}
	return most
}()

// sleptSince returns for how long the machine was suspended since start.
func sleptSince(time.Time) int64 { return int64(asleep() - asleepAtStart) }

// asleep returns how long the machine was suspended since it booted, and never
// more: the clock that counts suspension is read first, so that a delay between
// the two readings makes the difference smaller.
func asleep() time.Duration {
	boot := clock(clockBoottime)
	return boot - clock(clockMonotonic)
}

func clock(id uintptr) time.Duration {
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0 // no such clock: a kernel before 2.6.39
	}
	return time.Duration(ts.Nano())
}
