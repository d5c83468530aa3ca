// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A jobControl makes the command, which has a group of its own, look to the
// shell and to the terminal as if it were in locker's: locker stops when it
// stops, and hands it the terminal when locker has it. Without a terminal there
// is no job control, and a nil *jobControl does nothing.
type jobControl struct {
	tty     *terminal
	command *command

	wantsTerminal bool             // the command had the terminal, or asked for it
	timeout       <-chan time.Time // set while locker stops
}

// newJobControl begins to catch SIGTSTP, SIGCONT and SIGWINCH, which the caller
// handles as the other signals: a command without the terminal gets no Ctrl-Z
// from it, and is not told of the window's size.
func newJobControl(tty *terminal, c *command, signals chan<- os.Signal, hasTerminal bool) *jobControl {
	signal.Notify(signals, syscall.SIGTSTP, syscall.SIGCONT, syscall.SIGWINCH)
	return &jobControl{tty: tty, command: c, wantsTerminal: hasTerminal}
}

// stopped is called when sig has stopped the command. It returns true if the
// command may go on at once, since it only asked for the terminal that locker
// has. Otherwise locker stops too, and goes on with SIGCONT.
//
// It stops by SIGTTIN, whichever sig was: SIGTSTP it catches, and SIGSTOP would
// stop it even in a group that no shell would ever continue.
func (j *jobControl) stopped(sig syscall.Signal) (goOn bool) {
	if j == nil {
		return false
	}
	foreground := j.tty.foreground()
	hasTerminal := foreground == j.command.pid
	asks := sig == syscall.SIGTTIN || sig == syscall.SIGTTOU
	switch {
	case asks && foreground == j.tty.own:
		j.wantsTerminal = true
		return true
	case hasTerminal:
		j.wantsTerminal = true
		j.tty.give(j.tty.own)
		stop(0) // locker's group, to which the terminal did not tell it
	case asks:
		stop(0)
	case sig == syscall.SIGTSTP:
		stop(unix.Getpid()) // the terminal told the others of the group
	default:
		return false // SIGSTOP: not the doing of who sits at the terminal
	}
	j.timeout = time.After(stopWithin)
	return false
}

func stop(pid int) {
	_ = unix.Kill(pid, syscall.SIGTTIN) // there is always locker itself
}

// stopWithin is how long it may take to stop after the signal. If locker still
// runs then, the kernel does not stop its group, since no shell would ever
// continue it: the command must not stay stopped either.
const stopWithin = time.Second

// notStopped yields once when locker should have stopped and did not.
func (j *jobControl) notStopped() <-chan time.Time {
	if j == nil {
		return nil
	}
	return j.timeout
}

// awake is called when locker goes on.
func (j *jobControl) awake() {
	if j != nil {
		j.timeout = nil
	}
}

// goOn is called before the command goes on.
func (j *jobControl) goOn() {
	if j == nil {
		return
	}
	if j.wantsTerminal && j.tty.foreground() == j.tty.own {
		j.tty.give(j.command.pid)
	}
}

// end takes the terminal back from the command's group, or from one that the
// command made and that is gone, and puts its modes back where the command was
// ended, as shells do. A Ctrl-C that ended the command was meant for locker's
// group too, as for a script that locker is a part of.
func (j *jobControl) end(e *ending) {
	if j == nil {
		return
	}
	foreground := j.tty.foreground()
	hadTerminal := foreground == j.command.pid
	if hadTerminal || foreground > 0 && errors.Is(unix.Kill(-foreground, 0), unix.ESRCH) {
		j.tty.give(j.tty.own)
	}
	if hadTerminal && (e.lost != nil || e.status.Signaled()) {
		j.tty.resetModes()
	}
	if hadTerminal && e.status.Signaled() && e.status.Signal() == syscall.SIGINT {
		_ = unix.Kill(0, syscall.SIGINT) // locker itself catches it
	}
}
