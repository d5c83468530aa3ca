// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithParent makes the kernel kill the command if locker is killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// selfPath is the program that runs now, even if another was installed over it.
func selfPath() (string, error) {
	const path = "/proc/self/exe"
	if _, err := os.Stat(path); err != nil {
		return os.Executable()
	}
	return path, nil
}

// ended says whether the process has ended, and leaves it to be reaped.
func (c *command) ended() bool { return c.waitable(unix.WEXITED) }

// stoppedOrWentOn says whether there is news of a process that has not ended.
func (c *command) stoppedOrWentOn() bool { return c.waitable(unix.WSTOPPED | unix.WCONTINUED) }

func (c *command) waitable(what int) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.pid, &info, what|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil && info.Signo != 0
		}
	}
}
