// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package backend

import "time"

var start = time.Now()

// sleptSince returns by how much wall time grew more than monotonic time since
// start. A wall clock that is set forward looks the same as a suspended
// machine: leases then end early, which is safe. One that is set back is
// ignored by Now.
func sleptSince(now time.Time) int64 {
	wall := now.Round(0).Sub(start.Round(0))
	return int64(wall - now.Sub(start))
}
