// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A waiter is a Lock under way.
type waiter struct {
	*party
	name   string
	behind *held // the holder that it waits for
	cancel context.CancelCauseFunc
	queued chan struct{} // closed when the store has said that another holds the lock
	done   chan struct{} // closed when Lock has returned

	held  *held
	rest  *backend.Grant // of a Lock that failed: what is to be withdrawn
	err   error
	times int // how often Queued was called
}

// start starts a Lock that waits. Where the store cannot wake a waiter, it polls
// as the Client does.
func (p *party) start(name string) *waiter {
	w := &waiter{party: p, name: name, queued: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(p.ctx)
	w.cancel = cancel
	go w.run(ctx)
	p.Cleanup(func() { p.heal(); w.end() })
	return w
}

func (w *waiter) run(ctx context.Context) {
	defer close(w.done)
	var mu sync.Mutex
	queued := func() {
		mu.Lock()
		defer mu.Unlock()
		if w.times++; w.times == 1 {
			close(w.queued)
		}
	}
	for {
		req := w.request(w.name)
		if w.info.Poll > 0 {
			req.NoWait = true
		} else {
			req.Queued = queued
		}
		w.held, w.rest, w.err = w.send(ctx, req)
		if w.info.Poll == 0 || !errors.Is(w.err, backend.ErrLocked) {
			return
		}
		if w.times == 0 {
			queued()
		}
		select {
		case <-ctx.Done():
			w.err = ctx.Err()
			return
		case <-time.After(w.info.Poll):
		}
	}
}

// wait starts a Lock of the lock that h holds, and returns when it waits.
func (p *party) wait(h *held) *waiter {
	w := p.start(h.grant.Name)
	w.behind = h
	select {
	case <-w.queued:
	case <-w.done:
		if w.err == nil {
			h.doubled(h.live(), "it did not wait")
		}
		p.fail(w.err, "Lock of a lock that another holds did not wait")
	case <-time.After(p.soon()):
		p.late("Lock did not call Queued within %v, though another holds the lock", p.soon())
	}
	return w
}

// granted waits until the lock is granted.
func (w *waiter) granted(within time.Duration, why string) *held {
	select {
	case <-w.done:
	case <-time.After(within):
		w.late("a waiter was not granted the lock within %v: %s", within, why)
	}
	if w.err != nil {
		w.fail(w.err, "a waiter was not granted the lock: %s", why)
	}
	return w.held
}

// stillWaits fails if the lock is granted within d, while the holder that it
// waits for keeps it.
func (w *waiter) stillWaits(d time.Duration, why string) {
	select {
	case <-w.done:
		if w.err == nil {
			w.behind.doubled(w.behind.live(), why)
		}
		w.fail(w.err, "a waiter gave up: %s", why)
	case <-time.After(d):
	}
}

// end cancels the wait, or ends what came of it, until nothing is left in the
// store.
func (w *waiter) end() {
	w.cancel(context.Canceled)
	if !w.returned(backend.Linger(w.ttl) + slack) {
		w.late("Lock did not return within %v of the end of its context", backend.Linger(w.ttl)+slack)
	}
	switch {
	case w.held != nil:
		w.held.stop()
		_ = w.Unlock(w.within(w.soon()), w.held.grant)
	case w.rest != nil:
		w.withdraw(w.rest)
	}
}

func (w *waiter) returned(within time.Duration) bool {
	select {
	case <-w.done:
		return true
	case <-time.After(within):
		return false
	}
}
