// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

// An order is what must happen to the command because of its lease.
type order int

const (
	terminate order = iota + 1
	kill
)

// enforce watches a lease until done is closed, and sends terminate and then
// kill, or kill alone where no time is left.
//
// Without a renewal terminate comes min(grace, ttl/6) before the lease's
// deadline and kill at the deadline: nothing of the command may live when the
// store gives the lock to another, and a grace that began at the deadline would
// be too long. If the store says that the lease is gone it is too late for that,
// and the command gets its full grace.
func enforce(lease *locker.Lease, ttl, grace time.Duration, done <-chan struct{}) <-chan order {
	orders := make(chan order)
	e := enforcer{lease: lease, notice: min(grace, ttl/6), grace: grace, orders: orders, done: done}
	go e.run()
	return orders
}

type enforcer struct {
	lease         *locker.Lease
	notice, grace time.Duration
	orders        chan<- order
	done          <-chan struct{}
}

func (e *enforcer) run() {
	if !e.endangered() {
		return
	}
	end := e.lease.Deadline()
	told := end.IsZero() || e.lease.Context().Err() != nil && backend.Now().Before(end)
	if told {
		end = backend.Now().Add(e.grace)
	}
	if e.send(terminate) && e.reached(end, told) {
		e.send(kill)
	}
}

// endangered waits until the lease is over, or its deadline is near. It is false
// if done came first.
func (e *enforcer) endangered() bool {
	for {
		var near <-chan time.Time
		if d := e.lease.Deadline(); !d.IsZero() {
			left := d.Add(-e.notice).Sub(backend.Now())
			if left <= 0 {
				return true
			}
			near = time.After(left)
		}
		select {
		case <-e.done:
			return false
		case <-e.lease.Context().Done():
			return true
		case <-near: // unless it has been renewed since
		}
	}
}

// reached waits until end. The lease's Context is looked at too where end is
// its deadline, since a timer stands still while the machine sleeps.
func (e *enforcer) reached(end time.Time, told bool) bool {
	over := e.lease.Context().Done()
	if told {
		over = nil
	}
	for {
		left := end.Sub(backend.Now())
		if left <= 0 {
			return true
		}
		select {
		case <-e.done:
			return false
		case <-over:
			over = nil
		case <-time.After(left):
		}
	}
}

func (e *enforcer) send(o order) bool {
	select {
	case e.orders <- o:
		return true
	case <-e.done:
		return false
	}
}
