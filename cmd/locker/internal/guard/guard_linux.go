// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is one clock for locker and its guardian, which goes on while the
// machine sleeps, unlike Go's.
func Clock() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // a kernel before 2.6.39, for which Go does not build
	}
	return time.Duration(ts.Nano())
}

// nameProcess sets the name that ps and killall show for a process that was
// started as /proc/self/exe.
func nameProcess(name string) {
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0) // it is for people
}

// groupRuns says whether a process of the group can still do anything. A dead
// one that nobody has reaped cannot, and may stay so for ever where process 1
// does not reap.
func groupRuns(group int) bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return true // kill tells, in the end
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err == nil && runsIn(stat, group) {
			return true
		}
	}
	return false
}

// runsIn reads "pid (name) state parent group …". The name may hold anything.
func runsIn(stat []byte, group int) bool {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 3 || string(fields[2]) != strconv.Itoa(group) {
		return false
	}
	state := fields[0][0]
	return state != 'Z' && state != 'X'
}
