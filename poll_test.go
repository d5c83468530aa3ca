// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

const pollInterval = time.Second

// polling is a stub that cannot wake a waiter. Its other, a backend on the same
// store, takes locks in its way.
func polling(t *testing.T) (b *stub, other backend.Backend) {
	b = newStub()
	b.info = func(info *backend.Info) { info.Fair, info.Poll = false, pollInterval }
	b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
		if !req.NoWait {
			t.Error("Lock of a backend that polls is asked to wait")
		}
		return b.Backend.Lock(ctx, req)
	}
	return b, b.Store().Backend()
}

// hold takes x.
func hold(t *testing.T, b backend.Backend) (release func()) {
	t.Helper()
	g, err := b.Lock(t.Context(), backend.Request{Name: "x", Owner: "other", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := b.Unlock(t.Context(), g); err != nil {
			t.Error(err)
		}
	}
}

func TestPollersOfOneNameAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		release := hold(t, other)
		ctx, cancel := context.WithCancel(t.Context())
		var waiters []*attempt
		for range 100 {
			waiters = append(waiters, lockAsync(ctx, c, "x"))
		}
		synctest.Wait()
		if n := len(b.of("lock")); n != 1 {
			t.Errorf("%d tries at once by 100 goroutines", n)
		}
		start := len(b.of("lock"))
		elapse(100 * pollInterval)
		if n := len(b.of("lock")) - start; n < 67 || n > 200 {
			t.Errorf("%d tries in 100 intervals", n)
		}
		cancel()
		synctest.Wait()
		for _, w := range waiters {
			soon(t, w.done)
			wantIs(t, "Lock", w.err, context.Canceled, locker.ErrLocked)
		}
		release()
	})
}

func TestPollersServeTheirClientInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		release := hold(t, other)
		var waiters []*attempt
		for range 10 {
			waiters = append(waiters, lockAsync(t.Context(), c, "x"))
			synctest.Wait()
		}
		release()
		start := backend.Now()
		for i, w := range waiters {
			soon(t, w.done)
			lease := w.mustHold(t)
			if took := backend.Now().Sub(start); took > 3*pollInterval/2 {
				t.Fatalf("waiter %d got the lock after %v: a local unlock did not wake it", i, took)
			}
			tries := len(b.of("lock"))
			mustUnlock(t, c, lease)
			synctest.Wait()
			if n := len(b.of("lock")) - tries; n > 2 { // the next in line gets it, the one behind finds it held
				t.Errorf("%d tries at a hand-over", n)
			}
		}
	})
}

// The head leaves: the one behind it polls on.
func TestPollingPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		release := hold(t, other)
		ctx, cancel := context.WithCancel(t.Context())
		head := lockAsync(ctx, c, "x")
		synctest.Wait()
		middleCtx, cancelMiddle := context.WithCancel(t.Context())
		middle := lockAsync(middleCtx, c, "x")
		synctest.Wait()
		last := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		cancelMiddle()
		cancel()
		if !head.ended() || !middle.ended() {
			t.Fatal("a cancelled Lock still waits")
		}
		release()
		elapse(3 * pollInterval / 2)
		last.mustHold(t)
	})
}

func TestPollersOfOtherNamesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		hold(t, other)
		ctx, cancel := context.WithCancel(t.Context())
		lockAsync(ctx, c, "x")
		synctest.Wait()
		start := backend.Now()
		mustLock(t, c, "y")
		_, err := c.Lock(t.Context(), "x", locker.NoWait())
		wantIs(t, "NoWait", err, locker.ErrLocked)
		if took := backend.Now().Sub(start); took != 0 {
			t.Errorf("waited %v behind another name's poller", took)
		}
		cancel()
	})
}

// An outage: those that the store had answered wait on.
func TestPollersOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		release := hold(t, other)
		waiter := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		lock := b.lock
		b.set(func() {
			b.lock = func(context.Context, backend.Request) (*backend.Grant, error) { return nil, unavailable(errDriver) }
		})
		elapse(10 * testTTL)
		b.set(func() { b.lock = lock })
		release()
		elapse(testTTL)
		waiter.mustHold(t)
	})
}

// So does one that stood in line, and becomes the first in the outage.
func TestPollersInLineOutliveAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		release := hold(t, other)
		ctx, cancel := context.WithCancel(t.Context())
		lockAsync(ctx, c, "x")
		synctest.Wait()
		second := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		lock := b.lock
		b.set(func() {
			b.lock = func(context.Context, backend.Request) (*backend.Grant, error) { return nil, unavailable(errDriver) }
		})
		elapse(testTTL)
		cancel()
		elapse(testTTL)
		b.set(func() { b.lock = lock })
		release()
		elapse(testTTL)
		second.mustHold(t)
	})
}

// A store that never answers: every Lock ends within 15 s, those in line too.
func TestPollersOfASilentStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := polling(t)
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) { return nil, silent(ctx) }
		c := newClient(t, b)
		start := backend.Now()
		var waiters []*attempt
		for range 3 {
			waiters = append(waiters, lockAsync(t.Context(), c, "x"))
		}
		for i, w := range waiters {
			soon(t, w.done)
			wantIs(t, "Lock", w.err, backend.ErrUnavailable)
			wantIsNot(t, "Lock", w.err, locker.ErrLocked)
			if took := w.at.Sub(start); took > 15*time.Second {
				t.Errorf("Lock %d ended after %v", i, took)
			}
		}
	})
}

// A refusal ends the wait of its own call; the next in line asks for itself.
func TestPollersRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, other := polling(t)
		c := newClient(t, b)
		release := hold(t, other)
		first := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		second := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		refusal, refused := errors.New("driver: no rights"), false
		b.set(func() {
			b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
				if !refused {
					refused = true
					return nil, refusal
				}
				return b.Backend.Lock(ctx, req)
			}
		})
		elapse(3 * pollInterval / 2)
		if !first.ended() {
			t.Fatal("a refused Lock still waits")
		}
		wantIs(t, "refused Lock", first.err, refusal)
		release()
		elapse(3 * pollInterval / 2)
		second.mustHold(t)
	})
}

// With no poller a name costs nothing: one try takes a free lock.
func TestPollingTakesAFreeLockAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := polling(t)
		c := newClient(t, b)
		for i := range 10 {
			mustLock(t, c, fmt.Sprint(i))
		}
		if n := len(b.of("lock")); n != 10 {
			t.Errorf("%d tries for 10 free locks", n)
		}
	})
}

// Those behind give up in the moment in which the line fails.
func TestPollersWhoLeaveALineThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := polling(t)
		ctx, cancel := context.WithCancel(t.Context())
		inLine := make(chan struct{})
		b.lock = func(context.Context, backend.Request) (*backend.Grant, error) {
			<-inLine
			cancel()
			return nil, unavailable(errDriver)
		}
		c := newClient(t, b)
		first := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		var behind []*attempt
		for range 100 {
			behind = append(behind, lockAsync(ctx, c, "x"))
		}
		synctest.Wait()
		close(inLine)
		soon(t, first.done)
		wantIs(t, "Lock", first.err, errDriver)
		for _, w := range behind {
			soon(t, w.done)
			wantIsNot(t, "Lock", w.err, locker.ErrLocked)
			if w.err == nil {
				t.Error("Lock succeeded")
			}
		}
	})
}

// A Lock that ended says so though its end fell between the store's answer and the
// look at it.
func TestPollerEndsWithAnAnswer(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(c *locker.Client, cancel func())
		want error
	}{
		{"cancelled", func(_ *locker.Client, cancel func()) { cancel() }, context.Canceled},
		{"closed", func(c *locker.Client, _ func()) { c.Close() }, locker.ErrClosed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := polling(t)
				c := newClient(t, b)
				ctx, cancel := context.WithCancel(t.Context())
				b.lock = func(context.Context, backend.Request) (*backend.Grant, error) {
					return nil, &lookedAt{locker.ErrLocked, func() {
						go tc.end(c, cancel)
						synctest.Wait()
					}}
				}
				_, err := c.Lock(ctx, "x")
				wantIs(t, "Lock", err, tc.want)
			})
		})
	}
}

// lookedAt is an error that knows when somebody looks for it in another.
type lookedAt struct {
	error
	look func()
}

func (e *lookedAt) Is(target error) bool {
	if target != e.error {
		return false
	}
	e.look()
	return true
}
