// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

// A supervision keeps a command and its lease together: from its one goroutine
// everything is sent to the command's group, and the command is reaped, so that
// no signal reaches a group that has taken the number of a dead one.
//
// Its guardian does the same where locker can't: it is ready before the command
// starts, is told the group right after and each new deadline, and ends before
// the command is reaped. What locker started and did not live to tell of, the
// kernel kills, on Linux.
type supervision struct {
	client   *locker.Client
	lease    *locker.Lease
	grace    time.Duration
	command  *command
	guardian *guardian
	signals  chan os.Signal
	children chan os.Signal
	orders   <-chan order
	looked   chan struct{} // yields when the store was asked
	jobs     *jobControl   // nil without a terminal

	kill <-chan time.Time // yields when the guardian is dead and the grace over

	looking bool // the store is being asked
	stopped bool // the command does not run, and may not go on without the lease
	ended   bool // the command was reaped
	killed  bool // the group was sent SIGKILL
	end     ending
}

// supervise runs the command while the lease lasts, and returns when the
// command has ended; after a loss when its group has, or was sent SIGKILL. Its
// errors are exits.
func (r *run) supervise(path string, client *locker.Client, lease *locker.Lease, signals chan os.Signal) (ending, error) {
	runtime.LockOSThread() // see startCommand
	defer runtime.UnlockOSThread()

	children := make(chan os.Signal, 1) // one says enough
	signal.Notify(children, syscall.SIGCHLD)
	tty := openTerminal()
	eager := tty
	if tty != nil && (tty.foreground() != tty.own || !interactive()) {
		eager = nil
	}
	guardian, err := startGuardian(r.files.held())
	if err != nil {
		return ending{}, fail(exitCannotRun, "cannot run %s: its guardian process did not start: %v", r.command[0], err)
	}
	defer guardian.end()
	if err := lease.Err(); err != nil {
		return ending{}, fail(exitLost, "the lock %q was lost before the command started: %v", r.name, reason(err))
	}
	command, err := startCommand(path, r.command, r.environ(lease.Token()), eager)
	if err != nil {
		if eager != nil {
			tty.give(tty.own)
		}
		return ending{}, err
	}
	guardian.charge.Group = int64(command.pid)
	guardian.follow(lease.Deadline())

	done := make(chan struct{})
	defer close(done)
	s := &supervision{
		client:   client,
		lease:    lease,
		grace:    r.grace,
		command:  command,
		guardian: guardian,
		signals:  signals,
		children: children,
		orders:   enforce(lease, client.TTL(), r.grace, done),
		looked:   make(chan struct{}, 1),
	}
	if tty != nil {
		s.jobs = newJobControl(tty, command, signals, eager != nil)
		defer s.jobs.end(&s.end)
	}
	s.loop()
	return s.end, nil
}

func (s *supervision) loop() {
	gone := s.guardian.gone
	for !s.over() {
		var again <-chan time.Time
		if s.ended {
			again = time.After(aliveEvery)
		}
		select {
		case sig := <-s.signals:
			s.pass(sig.(syscall.Signal))
		case <-s.children:
			s.changed()
		case o := <-s.orders:
			s.obey(o)
		case <-s.guardian.due:
			s.guardian.follow(s.lease.Deadline())
		case <-gone:
			gone = nil
			s.unguarded()
		case <-s.kill:
			s.obey(kill)
		case <-s.jobs.notStopped(): // or so it seems: a timer looks the same after a stop
			s.wake()
		case <-s.looked:
			s.looking = false
			s.goOn()
		case <-again:
		}
	}
}

// aliveEvery is how often the group is looked for when the command itself has
// ended after a loss.
const aliveEvery = 50 * time.Millisecond

// over says whether there is nothing left to do. What the command leaves in its
// group is left alone, but after a loss.
func (s *supervision) over() bool {
	return s.ended && (s.end.lost == nil || s.killed || !s.command.alive())
}

func (s *supervision) pass(sig syscall.Signal) {
	if sig == syscall.SIGCONT {
		s.wake()
	} else {
		s.command.signal(sig)
	}
}

// wake is called when locker goes on, after it was stopped for a second or for a
// day: the command does so when the store was asked for the lease, and once. A
// second SIGCONT would undo the next Ctrl-Z.
func (s *supervision) wake() {
	s.jobs.awake()
	if !s.looking {
		s.looking = true
		go s.look()
	}
}

// look asks the store for the lease. No answer leaves it to its deadline.
func (s *supervision) look() {
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	_ = s.client.Renew(ctx, s.lease) // a loss ends the lease, which goOn sees
	s.looked <- struct{}{}           // of which there is room for one
}

const lookWithin = 2 * time.Second

// changed looks what has become of the command.
func (s *supervision) changed() {
	for !s.ended {
		status, changed := s.command.change(s.endGuardian)
		switch {
		case !changed:
			return
		case status.Continued():
			s.stopped = false
		case status.Stopped():
			s.stopped = true
			if s.end.lost == nil && s.jobs.stopped(status.StopSignal()) {
				s.goOn()
			}
		default:
			s.ended, s.end.status = true, status
			if status.Signal() == syscall.SIGKILL && s.guardian.overdue() { // it was the guardian
				s.lose(errNotRenewed)
				s.killed = true
			}
		}
	}
}

// endGuardian is called before the command is reaped. After a loss the guardian
// stays for what is left of the group, as the supervision does.
func (s *supervision) endGuardian() {
	if s.end.lost == nil {
		s.guardian.end()
	}
}

// unguarded ends a command without a guardian: a lock that could be outlived is
// as good as lost. The guardian may have ended because it has done its work.
func (s *supervision) unguarded() {
	if s.end.lost != nil {
		return
	}
	why := errUnguarded
	if s.guardian.overdue() {
		why = errNotRenewed // in time for the guardian to hear of it
	}
	s.lose(why)
	s.guardian.due = nil
	s.obey(terminate)
	s.kill = time.After(s.grace)
}

var errUnguarded = errors.New("its guardian process was killed")

// goOn continues a stopped group, if the lease still holds.
func (s *supervision) goOn() {
	switch {
	case s.end.lost != nil: // enforce has given its orders
	case s.lease.Err() != nil:
		s.obey(terminate)
	case s.stopped:
		s.stopped = false
		s.jobs.goOn()
		s.command.signal(syscall.SIGCONT)
	}
}

// obey ends the group after a loss. Who is stopped cannot heed SIGTERM, and must
// not go on to do so.
func (s *supervision) obey(o order) {
	if s.end.lost == nil {
		s.lose(errNotRenewed)
		s.boundGuardian()
	}
	if o == terminate && !s.stopped {
		s.command.signal(syscall.SIGTERM)
		return
	}
	s.command.signal(syscall.SIGKILL)
	s.killed = true
}

// lose keeps the first reason why the lock is lost: the lease's own if it has one.
func (s *supervision) lose(why error) {
	if err := s.lease.Err(); err != nil {
		why = err
	}
	if s.end.lost == nil {
		s.end.lost = why
	}
}

// boundGuardian gives the command its grace where enforce does so: the lease was
// lost before its time.
func (s *supervision) boundGuardian() {
	s.guardian.due = nil
	if end := s.lease.Deadline(); s.lease.Err() != nil && (end.IsZero() || backend.Now().Before(end)) {
		s.guardian.bound(s.grace)
	}
}

var errNotRenewed = errors.New("it was not renewed in time")
