// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// A terminal is the controlling terminal of locker's session, over which the
// process groups of the session take turns.
type terminal struct {
	fd    int
	own   int         // locker's group
	modes *term.State // from before the command
}

// openTerminal returns nil if the session has no terminal.
func openTerminal() *terminal {
	fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	t := &terminal{fd: fd, own: unix.Getpgrp()}
	t.modes, _ = term.GetState(fd) // without, there is nothing to put back
	return t
}

// resetModes undoes what a command did that had no chance to: a terminal in raw
// mode is of no use to the user. Like give, it is for after the command's start.
func (t *terminal) resetModes() {
	if t.modes != nil {
		signal.Ignore(syscall.SIGTTOU)
		_ = term.Restore(t.fd, t.modes) // the terminal may be gone
	}
}

// foreground returns the group that has the terminal, 0 if it is not known.
func (t *terminal) foreground() int {
	group, err := unix.IoctlGetInt(t.fd, unix.TIOCGPGRP)
	if err != nil {
		return 0
	}
	return group
}

// give makes a group the foreground group. The kernel stops a background
// process that does so, unless it ignores SIGTTOU; from then on locker does. The
// command would inherit that: give is for after its start.
func (t *terminal) give(group int) {
	signal.Ignore(syscall.SIGTTOU)
	_ = unix.IoctlSetPointerInt(t.fd, unix.TIOCSPGRP, group) // the group may be gone
}

// interactive says whether the command should have the terminal from its start:
// it reads from a terminal and does not write into a pipe, whose other end, a
// pager, may need the terminal for itself. Others get it when they ask for it.
func interactive() bool {
	info, err := os.Stdout.Stat()
	return err == nil && info.Mode()&fs.ModeNamedPipe == 0 && term.IsTerminal(syscall.Stdin)
}

// inForeground says whether locker may write to a terminal without disturbing
// what the user does there.
func inForeground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return errors.Is(err, unix.ENOTTY) || err == nil && group == unix.Getpgrp()
}
