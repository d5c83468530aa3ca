// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker/backend"
)

// Now is the time since the machine started, on CLOCK_MONOTONIC, which all
// processes share: their events can be compared.
func Now() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock exists wherever this compiles
	}
	return time.Duration(ts.Nano())
}

// At converts a time of [backend.Now], such as a lease's deadline, to the clock
// of [Now], to within a millisecond. A zero time is [Forever].
func At(t time.Time) time.Duration {
	if t.IsZero() {
		return Forever
	}
	for {
		before := Now()
		left := t.Sub(backend.Now())
		if Now()-before < time.Millisecond { // else the process was interrupted in between
			return before + left
		}
	}
}
