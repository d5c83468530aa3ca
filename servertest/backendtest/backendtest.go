// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package backendtest makes the calls of a backend, and of a Client on one, that
// the adapters' tests watch while they do something to the server. What fails ends
// the test, and what it started ends with it.
package backendtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// Patience is longer than a busy machine stands still, and than anything takes
// for which a test waits without a bound of its own.
const Patience = 30 * time.Second

// Bounded returns a context that ends with the test, and after a minute, which no
// single call takes.
func Bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Eventually returns when ok does, within [Patience].
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	Within(t, Patience, what, ok)
}

// Within returns when ok does, and fails the test if it does not in time.
func Within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(limit); !ok(); <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// Lock is for a request that is granted.
func Lock(t testing.TB, b backend.Backend, req backend.Request) *backend.Grant {
	t.Helper()
	g, err := b.Lock(Bounded(t), req)
	if err != nil {
		t.Fatalf("Lock(%q): %v", req.Name, err)
	}
	return g
}

// Unlock is for a grant that is held.
func Unlock(t testing.TB, b backend.Backend, g *backend.Grant) {
	t.Helper()
	if err := b.Unlock(Bounded(t), g); err != nil {
		t.Fatalf("Unlock(%q): %v", g.Name, err)
	}
}

// Renew returns what became of the renewal of one grant.
func Renew(t testing.TB, b backend.Backend, g *backend.Grant) error {
	t.Helper()
	return b.Renew(Bounded(t), []*backend.Grant{g})[0].Err
}

// WithLost has a request tell its loss to a channel.
func WithLost(req backend.Request) (backend.Request, chan error) {
	told := make(chan error, 8)
	req.Lost = func(err error) { told <- err }
	return req, told
}

// A Call is a Lock of a backend that was started.
type Call struct {
	Request backend.Request
	Cancel  context.CancelFunc
	Queued  chan struct{} // closed when the store has queued it
	Done    chan struct{} // closed when it has ended; then Grant and Err are set
	Grant   *backend.Grant
	Err     error
}

// Start starts a Lock.
func Start(t testing.TB, b backend.Backend, req backend.Request) *Call {
	t.Helper()
	return start(t, b, req, false)
}

// Queue starts a Lock, and returns when it waits. Until then it is tried again
// if the store does not answer, as a machine that stands still makes needful.
func Queue(t testing.TB, b backend.Backend, req backend.Request) *Call {
	t.Helper()
	c := start(t, b, req, true)
	select {
	case <-c.Queued:
	case <-c.Done:
		t.Fatalf("Lock(%q) did not wait: %v", req.Name, c.Err)
	case <-time.After(Patience):
		t.Fatalf("Lock(%q) was not queued within %v", req.Name, Patience)
	}
	return c
}

func start(t testing.TB, b backend.Backend, req backend.Request, again bool) *Call {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Call{Cancel: cancel, Queued: make(chan struct{}), Done: make(chan struct{})}
	req.Queued = func() { close(c.Queued) }
	c.Request = req
	go func() {
		defer close(c.Done)
		for {
			c.Grant, c.Err = b.Lock(ctx, req)
			if !again || c.Grant != nil || c.queued() || ctx.Err() != nil || !errors.Is(c.Err, backend.ErrUnavailable) {
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-c.Done })
	return c
}

func (c *Call) queued() bool {
	select {
	case <-c.Queued:
		return true
	default:
		return false
	}
}

// Waits says whether the Lock has not ended.
func (c *Call) Waits() bool {
	select {
	case <-c.Done:
		return false
	default:
		return true
	}
}

// Granted returns the grant when it comes.
func (c *Call) Granted(t testing.TB, within time.Duration) *backend.Grant {
	t.Helper()
	c.end(t, within)
	if c.Err != nil {
		t.Fatalf("Lock(%q) was not granted: %v", c.Request.Name, c.Err)
	}
	return c.Grant
}

// Failed returns when the Lock has failed as wanted.
func (c *Call) Failed(t testing.TB, within time.Duration, want error) {
	t.Helper()
	c.end(t, within)
	if !errors.Is(c.Err, want) {
		t.Fatalf("Lock(%q): %v, want %v", c.Request.Name, c.Err, want)
	}
}

func (c *Call) end(t testing.TB, within time.Duration) {
	t.Helper()
	select {
	case <-c.Done:
	case <-time.After(within):
		t.Fatalf("Lock(%q) did not end within %v", c.Request.Name, within)
	}
}
