// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"testing"
	"time"
)

// Now must never run ahead by the time that lies between its two readings of
// the kernel's clocks: a lease counted from such a Now would be too long.
func TestAwakeMachineHasNotSlept(t *testing.T) {
	for range 100_000 {
		if d := sleptSince(time.Time{}); d > int64(50*time.Microsecond) {
			t.Fatalf("slept for %v, but this machine was awake", time.Duration(d))
		}
	}
}
