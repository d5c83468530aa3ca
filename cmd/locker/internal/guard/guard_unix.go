// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package guard

import (
	"encoding/binary"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Argument makes locker a guardian. It shows in ps.
const Argument = "(guardian)"

// What a guardian is started with, as descriptors.
const (
	chargeFD = 3 + iota // it reads charges; the end of file is locker's death
	readyFD             // it writes a byte when it is ready
	lockFD              // a copy of the lock file, if the lock is one
)

// A Charge is what a guardian must know, all of it each time.
type Charge struct {
	Group int64         // the command's process group; 0: not started yet
	Until time.Duration // when the group must be gone, on [Clock]; 0: while locker lives
}

const chargeSize = 16 // so small that a pipe passes it whole

// Bytes is what is written to the guardian.
func (c Charge) Bytes() []byte {
	b := binary.NativeEndian.AppendUint64(make([]byte, 0, chargeSize), uint64(c.Group))
	return binary.NativeEndian.AppendUint64(b, uint64(c.Until))
}

func parse(b []byte) Charge {
	return Charge{
		Group: int64(binary.NativeEndian.Uint64(b)),
		Until: time.Duration(binary.NativeEndian.Uint64(b[8:])),
	}
}

// It is here that a guardian lives and ends: most of locker has not been
// initialized yet, and never is.
func init() {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		guard()
		os.Exit(0)
	}
}

// guard is the guardian's whole life. Where locker needs no guardian any more it
// kills it.
func guard() {
	// Who sends these to all that locker is means the command, which ends in
	// its own way.
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	nameProcess("locker-guardian")
	if _, err := unix.Write(readyFD, []byte{1}); err != nil {
		return // locker is gone, and has started nothing
	}
	_ = unix.Close(readyFD)

	if c := watchOver(); c.Group != 0 {
		endGroup(int(c.Group))
	}
	// Only now the lock is free, whoever else has a copy of the lock file. There
	// is none, and nothing to release, if the lock is not a file.
	_ = unix.Flock(lockFD, unix.LOCK_UN)
}

// watchOver returns the last charge when locker is dead or the charge was not
// renewed in time.
func watchOver() (c Charge) {
	message := make([]byte, chargeSize)
	for {
		left, bounded := c.left()
		n, err := unix.Poll([]unix.PollFd{{Fd: chargeFD, Events: unix.POLLIN}}, pollTimeout(left, bounded))
		switch {
		case n > 0:
			if _, err := io.ReadFull(chargeReader{}, message); err != nil {
				return c
			}
			c = parse(message)
		case err == nil && bounded && left <= 0: // and nothing newer has come
			return c
		}
	}
}

// left returns the time to the charge's end, if it has one.
func (c Charge) left() (left time.Duration, bounded bool) {
	return c.Until - Clock(), c.Group != 0 && c.Until != 0
}

// pollTimeout is in milliseconds, rounded up. It is at most a second, since
// poll's clock stands still while the machine sleeps.
func pollTimeout(left time.Duration, bounded bool) int {
	if !bounded {
		return -1
	}
	left = min(max(left, 0), time.Second)
	return int((left + time.Millisecond - 1) / time.Millisecond)
}

type chargeReader struct{}

func (chargeReader) Read(b []byte) (int, error) {
	n, err := unix.Read(chargeFD, b)
	switch {
	case err == unix.EINTR || err == unix.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// endGroup kills the group and returns when nothing of it runs: SIGKILL takes
// effect a little after it was sent.
func endGroup(group int) {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if unix.Kill(-group, unix.SIGKILL) != nil { // none is left, or none that is ours to kill
			return
		}
		if !groupRuns(group) {
			return
		}
		time.Sleep(pause)
	}
}
