// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// fakes returns a backend whose shared session, and a spare one for a wait, have
// fake servers.
func fakes(t *testing.T) (b *Backend, shared, waiting *fake) {
	t.Helper()
	b, h, waiting := waitedHold(t)
	s, shared := startSession(t, time.Minute)
	b.ttl, b.current = time.Minute, s
	b.keep(h.session)
	return b, shared, waiting
}

func lockRequest(queued func()) backend.Request {
	return backend.Request{Name: "x", Owner: "o", TTL: time.Minute, Queued: queued}
}

// A caller that gives up at the moment of its turn does not leave the statement
// in the server's queue to nobody.
func TestGivingUpAtOnesTurn(t *testing.T) {
	b, _, _ := fakes(t)
	enter := func() *caller {
		c, err := b.enter(lockRequest(nil))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second, third := enter(), enter(), enter()
	b.gates[first.key].wait = &wait{op: newWaitOp(first.key)}
	if !b.giveUp(third) {
		t.Error("the third has had no turn")
	}
	if !b.passOn(first) {
		t.Fatal("the first has somebody to leave its statement to")
	}
	if b.giveUp(second) {
		t.Error("the second left the statement to nobody")
	}
	if b.passOn(second) {
		t.Error("there is nobody to leave the statement to")
	}
}

// While one waits in the server's queue, nobody who must not wait stands behind
// it: the statement would be left to it.
func TestNoWaitBehindAWaiter(t *testing.T) {
	b, shared, waiting := fakes(t)
	ctx, cancel := context.WithCancel(t.Context())
	queued := make(chan struct{})
	done := in(func() error { _, err := b.Lock(ctx, lockRequest(func() { close(queued) })); return err })

	// The lock is held by another.
	shared.statement()
	noWait := lockRequest(nil)
	noWait.NoWait = true
	behind := in(func() error { _, err := b.Lock(t.Context(), noWait); return err })
	for joined := false; !joined; <-time.After(time.Millisecond) {
		b.mu.Lock()
		joined = len(b.gates[b.cfg.key("x")].queue) == 2
		b.mu.Unlock()
	}
	shared.Send(bindComplete)
	shared.Send(nullRow)
	shared.ready()
	if err := <-behind; !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait behind one that was told that another holds the lock: %v, want ErrLocked", err)
	}
	waiting.statement()
	shared.receive() // is it in the queue?
	shared.Send(bindComplete)
	shared.Send(oneRow)
	shared.ready()
	<-queued
	if _, err := b.Lock(t.Context(), noWait); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait behind one that waits: %v, want ErrLocked", err)
	}

	// It leaves: the statement is cancelled, and what it may hold is released.
	cancel()
	shared.receive()
	waiting.refuse("ERROR", codeCancelled)
	shared.Send(oneRow)
	shared.ready()
	if name := waiting.statement(); name != unlockAllStatement {
		t.Errorf("the session that waited sent %q, want %q", name, unlockAllStatement)
	}
	waiting.answer("")
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the waiter: %v, want context.Canceled", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.gates)+len(b.waits)+b.waiting != 0 || len(b.spares) != 1 {
		t.Errorf("left: %d gates, %d waits, %d waiting sessions; %d spare ones, want 1", len(b.gates), len(b.waits), b.waiting, len(b.spares))
	}
}

// The same where the lock was held by this process, and was released since.
func TestNoWaitBehindAWaiterAfterTheRelease(t *testing.T) {
	b, shared, waiting := fakes(t)
	first, err := b.enter(lockRequest(nil))
	if err != nil {
		t.Fatal(err)
	}
	h := newHold(first, b.current)
	b.claim(first, h)
	b.granted(first, h, 1)
	queued := make(chan struct{})
	go func() { _, _ = b.Lock(t.Context(), lockRequest(func() { close(queued) })) }()
	waiting.statement()
	shared.receive() // is it in the queue?
	shared.Send(oneRow)
	shared.ready()
	<-queued
	b.forget(h)
	noWait := lockRequest(nil)
	noWait.NoWait = true
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := b.Lock(ctx, noWait); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait behind one that waits: %v, want ErrLocked", err)
	}
	waiting.answer("") // granted
	waiting.statement()
	waiting.answer("2")
}
