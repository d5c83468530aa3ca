// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
)

func TestCloseEndsEverything(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		held := mustLock(t, a, "held")
		unrenewed := mustLock(t, a, "unrenewed", locker.NoRenew())
		mustLock(t, b, "x")
		waiter := lockAsync(t.Context(), a, "x")
		synctest.Wait()

		start := backend.Now()
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if took := backend.Now().Sub(start); took != 0 {
			t.Errorf("Close took %v with a living store", took)
		}
		for _, lease := range []*locker.Lease{held, unrenewed} {
			wantIs(t, "Err", lease.Err(), locker.ErrUnlocked, locker.ErrClosed)
			wantIsNot(t, "Err", lease.Err(), locker.ErrLost)
			wantIs(t, "cause", context.Cause(lease.Context()), locker.ErrUnlocked, locker.ErrClosed)
			wantIs(t, "Unlock", a.Unlock(t.Context(), lease), locker.ErrClosed)
			if a.Renew(t.Context(), lease) == nil {
				t.Error("Renew after Close")
			}
		}
		if !waiter.ended() {
			t.Fatal("a Lock still waits")
		}
		wantIs(t, "waiting Lock", waiter.err, locker.ErrClosed)
		_, err := a.Lock(t.Context(), "y")
		wantIs(t, "Lock", err, locker.ErrClosed)
		if s.State("held").Held || s.State("x").Waiters != 0 || s.Sessions() != 1 {
			t.Errorf("left: held %+v, x %+v, %d sessions", s.State("held"), s.State("x"), s.Sessions())
		}
		if err := a.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	})
}

// Close of a client whose store does not answer, with all that can be under
// way: it is bounded, and its error says what is left.
func TestCloseIsBounded(t *testing.T) {
	for name, cut := range map[string]func(*sessionstore.Link){"cut": (*sessionstore.Link).Cut, "refused": (*sessionstore.Link).Refuse} {
		t.Run(name, func(t *testing.T) {
			simulated(t, func(t *testing.T, s *sessionstore.Store) {
				a, link := newSession(t, s)
				b, _ := newSession(t, s)
				unlocked := mustLock(t, a, "unlocked")
				held := mustLock(t, a, "held")
				mustLock(t, b, "x")
				waiter := lockAsync(t.Context(), a, "x")
				synctest.Wait()
				cut(link)
				arriving := lockAsync(t.Context(), a, "new")
				unlocking := make(chan error, 1)
				go func() { unlocking <- a.Unlock(t.Context(), unlocked) }()
				renewing := make(chan error, 1)
				go func() { renewing <- a.Renew(t.Context(), held) }()
				synctest.Wait()

				start := backend.Now()
				err := a.Close()
				if took := backend.Now().Sub(start); took > 10*time.Second {
					t.Errorf("Close took %v", took)
				}
				wantIs(t, "Close", err, backend.ErrUnavailable)
				var e *locker.Error
				if !errors.As(err, &e) || e.Op != "close" || e.Backend != "sessionstore" {
					t.Errorf("%#v", e)
				}
				wantIs(t, "Err", held.Err(), locker.ErrUnlocked, locker.ErrClosed)
				for _, w := range []*attempt{waiter, arriving} {
					if !w.ended() {
						t.Fatal("a Lock still waits")
					}
				}
				wantIs(t, "waiting Lock", waiter.err, locker.ErrClosed)
				if <-renewing == nil || <-unlocking == nil {
					t.Error("Renew or Unlock succeeded without a store")
				}
			})
		})
	}
}

// A backend whose calls do not return does not hold Close up.
func TestCloseOfAStuckBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		free := make(chan struct{})
		b.withdraw = func(context.Context, *backend.Grant) error { <-free; return nil }
		b.close = func() error { <-free; return nil }
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			<-free
			return renewAll(ctx, grants)
		}
		c := newClient(t, b)
		mustLock(t, c, "x")
		elapse(testTTL / 2)
		start := backend.Now()
		if c.Close() == nil {
			t.Error("Close had nothing to say")
		}
		if took := backend.Now().Sub(start); took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
		close(free)
	})
}

// Close waits for the withdrawal of what Lock still asked for, before it closes
// the backend.
func TestCloseWithdrawsBeforeTheBackendCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			<-ctx.Done()
			timer := time.NewTimer(time.Second)
			<-timer.C
			return granted(req, backend.Now().Add(testTTL)), nil
		}
		failed := false
		b.withdraw = func(context.Context, *backend.Grant) error {
			if !failed {
				failed = true
				return errDriver
			}
			return nil
		}
		c := newClient(t, b)
		lockAsync(t.Context(), c, "x")
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		var ops []string
		for _, call := range b.calls {
			ops = append(ops, call.op)
		}
		if len(ops) != 4 || ops[1] != "withdraw" || ops[2] != "withdraw" || ops[3] != "close" {
			t.Errorf("calls %q", ops)
		}
	})
}

// The backend's own error reaches the caller.
func TestCloseTellsTheBackendsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.close = func() error { return errDriver }
		c := newClient(t, b)
		wantIs(t, "Close", c.Close(), errDriver)
	})
}

// A Lock that the backend never ended may have left something: Close says so.
func TestCloseTellsOfALockUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		free := make(chan struct{})
		b.lock = func(context.Context, backend.Request) (*backend.Grant, error) { <-free; return nil, errDriver }
		c := newClient(t, b)
		waiter := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		if c.Close() == nil {
			t.Error("Close had nothing to say of a Lock that the backend had not ended")
		}
		if !waiter.ended() {
			t.Error("Lock still waits")
		}
		close(free)
	})
}

// A store that is slow, not sick: Close of many locks is done within its time.
func TestCloseOfManyLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.withdraw = func(ctx context.Context, g *backend.Grant) error {
			timer := time.NewTimer(10 * time.Millisecond)
			<-timer.C
			return b.Backend.Withdraw(ctx, g)
		}
		c := newClient(t, b)
		for i := range manyLocks {
			mustLock(t, c, strconv.Itoa(i))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
