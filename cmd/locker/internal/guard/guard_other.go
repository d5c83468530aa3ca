// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package guard

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock is one clock for locker and its guardian. It goes on while the
// machine sleeps on macOS and OpenBSD; elsewhere a guardian is late by the sleep.
func Clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every unix has it
	}
	return time.Duration(ts.Nano())
}

func nameProcess(string) {}

// groupRuns leaves it to kill to tell that the group is gone.
func groupRuns(int) bool { return true }
