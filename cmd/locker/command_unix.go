// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// A command is a running process and its process group, which has its number.
type command struct{ pid int }

// findCommand returns the path of a program. Its errors are exits.
func findCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) { // who has a dot in $PATH wants it
		return "", cannotRun(name, err)
	}
	return path, nil
}

func cannotRun(name string, err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		err = cause // without the name
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fail(exitNotFound, "%s: command not found in $PATH", name)
	case errors.Is(err, fs.ErrNotExist):
		return fail(exitNotFound, "%s: no such file, or its interpreter is missing", name)
	case errors.Is(err, unix.ENOEXEC):
		return fail(exitCannotRun, "cannot run %s: %v; a script needs a first line such as #!/bin/sh", name, err)
	}
	return fail(exitCannotRun, "cannot run %s: %v", name, err)
}

// startCommand starts a program in a process group of its own, on locker's own
// stdin, stdout and stderr: there is no pipe that a daemon could keep open. The
// group becomes the terminal's foreground group if tty is not nil.
//
// The caller must keep its OS thread until the command has ended, since on
// Linux the kernel kills the command when that thread dies.
func startCommand(path string, args, env []string, tty *terminal) (*command, error) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if tty != nil {
		attr.Foreground, attr.Ctty = true, tty.fd
	}
	dieWithParent(attr)
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env:   env,
		Files: []uintptr{uintptr(syscall.Stdin), uintptr(syscall.Stdout), uintptr(syscall.Stderr)},
		Sys:   attr,
	})
	if err != nil {
		return nil, cannotRun(args[0], &os.PathError{Op: "exec", Path: path, Err: err})
	}
	return &command{pid}, nil
}

// signal sends sig to the group.
func (c *command) signal(sig syscall.Signal) {
	_ = unix.Kill(-c.pid, sig) // no such process: the group is gone
}

// alive says whether there is anything left of the group.
func (c *command) alive() bool {
	return !errors.Is(unix.Kill(-c.pid, 0), unix.ESRCH)
}

// change returns what has become of the process since it was asked last, if
// anything: it stopped or went on, or it ended. Then it is reaped after atEnd:
// until it is, no other group can have its number.
func (c *command) change(atEnd func()) (status unix.WaitStatus, changed bool) {
	if c.ended() {
		atEnd()
	} else if !c.stoppedOrWentOn() {
		return 0, false
	}
	for {
		pid, err := unix.Wait4(c.pid, &status, unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED, nil)
		if !errors.Is(err, unix.EINTR) {
			return status, pid == c.pid
		}
	}
}
