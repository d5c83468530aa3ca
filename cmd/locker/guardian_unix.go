// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/cmd/locker/internal/guard"
)

// A guardian is locker's end of the process of package guard.
type guardian struct {
	process *os.Process
	charges *os.File      // the guardian takes its closing for locker's death
	gone    chan struct{} // closed when the process has ended and is reaped
	due     <-chan time.Time
	charge  guard.Charge // the last one told
	late    bool         // one was told after the one before had passed
}

// readyWithin bounds the start of a guardian, on a machine that hardly moves.
const readyWithin = 10 * time.Second

// startGuardian returns a guardian that is ready. It keeps lockFile locked, if
// that is not nil, until the group is gone. It has a session of its own, and
// holds neither locker's environment nor directory nor streams.
func startGuardian(lockFile *os.File) (*guardian, error) {
	self, err := selfPath()
	if err != nil {
		return nil, err
	}
	chargesR, chargesW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = chargesR.Close() }()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, chargesW.Close())
	}
	defer func() { _ = readyR.Close() }()

	cmd := &exec.Cmd{
		Path:        self,
		Args:        []string{"locker", guard.Argument, "of", strconv.Itoa(os.Getpid())},
		Env:         []string{"GOMAXPROCS=1"},
		Dir:         "/",
		ExtraFiles:  []*os.File{chargesR, readyW},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if lockFile != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, lockFile)
	}
	err = cmd.Start()
	_ = readyW.Close() // or its end could not be read
	if err != nil {
		return nil, errors.Join(err, chargesW.Close())
	}
	g := &guardian{process: cmd.Process, charges: chargesW, gone: make(chan struct{})}
	go func() {
		defer close(g.gone)
		_ = cmd.Wait() // however it ended
	}()

	late := time.AfterFunc(readyWithin, func() { _ = g.process.Kill() })
	_, err = io.ReadFull(readyR, make([]byte, 1))
	if !late.Stop() || err != nil {
		g.end()
		return nil, fmt.Errorf("it was not ready within %v: %w", readyWithin, err)
	}
	return g, nil
}

// follow tells the guardian the lease's deadline, and is to be called again when
// due yields: in the middle of what is left, so that a renewal is told in time.
func (g *guardian) follow(deadline time.Time) {
	g.due = nil
	until := time.Duration(0)
	if !deadline.IsZero() {
		now := guard.Clock() // first: a delay makes the charge shorter
		left := deadline.Sub(backend.Now())
		until = now + left
		g.due = time.After(max(left/2, 10*time.Millisecond))
	}
	g.tell(guard.Charge{Group: g.charge.Group, Until: until})
}

// bound tells the guardian that the group must be gone after d.
func (g *guardian) bound(d time.Duration) {
	g.due = nil
	g.tell(guard.Charge{Group: g.charge.Group, Until: guard.Clock() + d})
}

// overdue says whether the guardian may have ended the group by now.
func (g *guardian) overdue() bool {
	return g.late || g.charge.Until != 0 && guard.Clock() >= g.charge.Until
}

// tell never blocks. A guardian that does not listen is none.
func (g *guardian) tell(c guard.Charge) {
	g.late = g.overdue()
	g.charge = c
	conn, err := g.charges.SyscallConn()
	if err == nil {
		connErr := conn.Write(func(fd uintptr) bool {
			_, err = unix.Write(int(fd), c.Bytes())
			return true
		})
		err = errors.Join(err, connErr)
	}
	if err != nil {
		_ = g.process.Kill() // gone tells
	}
}

// end ends the guardian, and returns when it can do nothing any more. It is
// killed rather than told, so that it cannot be late.
func (g *guardian) end() {
	_ = g.process.Kill() // it may have ended
	<-g.gone
	_ = g.charges.Close() // nothing was buffered
}
