// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/memory"
)

func TestNewLeaseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		lease := locker.NewLease(ctx, "x", 7, nil)
		if lease.Name() != "x" || lease.Token() != 7 || !lease.Deadline().IsZero() || lease.Err() != nil {
			t.Errorf("%q, %d, %v, %v", lease.Name(), lease.Token(), lease.Deadline(), lease.Err())
		}
		cancel(errWork)
		if !same(lease.Err(), errWork) || !same(context.Cause(lease.Context()), errWork) {
			t.Errorf("Err %v, cause %v", lease.Err(), context.Cause(lease.Context()))
		}
	})
}

// The deadline may move: the lease ends past the last one.
func TestNewLeaseEndsPastItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var until atomic.Pointer[time.Time]
		set := func(d time.Duration) time.Time {
			at := backend.Now().Add(d)
			until.Store(&at)
			return at
		}
		set(3 * time.Second)
		lease := locker.NewLease(t.Context(), "x", 1, func() time.Time { return *until.Load() })
		elapse(2 * time.Second)
		want := set(5 * time.Second)
		if at := soon(t, lostAt(lease)); !at.Equal(want) {
			t.Errorf("ended %v from its deadline", at.Sub(want))
		}
		wantIs(t, "Err", lease.Err(), locker.ErrLost)
		wantIs(t, "cause", context.Cause(lease.Context()), locker.ErrLost)
	})
}

// A deadline may come and go: zero means none at present.
func TestNewLeaseDeadlineComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var until atomic.Pointer[time.Time]
		var looks atomic.Int64
		set := func(at time.Time) { until.Store(&at) }
		set(backend.Now().Add(time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		lease := locker.NewLease(ctx, "x", 1, func() time.Time {
			if looks.Add(1) == 1000 {
				cancel() // else the bubble never comes to rest
			}
			return *until.Load()
		})
		set(time.Time{})
		elapse(time.Minute)
		if n := looks.Load(); n > 500 {
			t.Fatalf("the deadline was looked at %d times in a minute", n)
		}
		if err := lease.Err(); err != nil {
			t.Fatalf("ended without a deadline: %v", err)
		}
		set(backend.Now().Add(5 * time.Second))
		elapse(6 * time.Second)
		if lease.Context().Err() == nil {
			t.Error("the Context outlives a deadline that came later")
		}
		cancel()
	})
}

func TestGuard(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, b *memory.Backend) {
		type key struct{}
		ctx, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, 1))
		lease := mustLock(t, c, "x")
		first, stop := lease.Guard(ctx)
		second, stopSecond := lease.Guard(t.Context())
		defer stopSecond()
		if first.Value(key{}) != 1 {
			t.Error("the values of ctx are gone")
		}
		cancel(errWork)
		if first.Err() == nil || !same(context.Cause(first), errWork) {
			t.Errorf("ctx ended: %v", context.Cause(first))
		}
		stop()
		if lease.Err() != nil || second.Err() != nil {
			t.Error("a guard ended the lease")
		}
		b.Break("x")
		synctest.Wait()
		wantIs(t, "cause of the guard", context.Cause(second), locker.ErrLost)
		third, stopThird := lease.Guard(t.Context())
		defer stopThird()
		wantIs(t, "a guard of a lost lease", context.Cause(third), locker.ErrLost)
	})
}

// A lease of another client, of none and nil are an error without I/O.
func TestForeignLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		other := newClient(t, memory.New())
		lease := mustLock(t, other, "x")
		for name, foreign := range map[string]*locker.Lease{
			"another client's": lease,
			"NewLease":         locker.NewLease(t.Context(), "x", 1, nil),
			"nil":              nil,
		} {
			for op, err := range map[string]error{"Unlock": c.Unlock(t.Context(), foreign), "Renew": c.Renew(t.Context(), foreign)} {
				var e *locker.Error
				if !errors.As(err, &e) {
					t.Errorf("%s of %s lease: %v", op, name, err)
				}
				wantIsNot(t, op+" of "+name+" lease", err, locker.ErrLost, locker.ErrUnlocked)
			}
		}
		if lease.Err() != nil {
			t.Errorf("the lease was harmed: %v", lease.Err())
		}
		if len(b.calls) != 0 {
			t.Errorf("%d calls of the backend", len(b.calls))
		}
	})
}

// Unlock makes its attempt though ctx has ended; a second one is ErrUnlocked
// and asks nobody.
func TestUnlockTwiceAndAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b.unlock = func(ctx context.Context, g *backend.Grant) error {
			if ctx.Err() != nil {
				t.Error("the store is asked under an ended context")
			}
			return b.Backend.Unlock(ctx, g)
		}
		if err := c.Unlock(ctx, lease); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		next := mustLock(t, c, "x")
		wantIs(t, "second Unlock", c.Unlock(t.Context(), lease), locker.ErrUnlocked)
		if c.Renew(t.Context(), lease) == nil {
			t.Error("Renew of an unlocked lease")
		}
		if n := len(b.of("unlock")) + len(b.of("renew")); n != 1 {
			t.Errorf("%d calls for one unlock", n)
		}
		if next.Err() != nil {
			t.Errorf("the successor was harmed: %v", next.Err())
		}
	})
}

// Two goroutines of one client do not share a lock.
func TestOneClientIsNotReentrant(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		lease := mustLock(t, c, "x")
		second := lockAsync(t.Context(), c, "x")
		if second.ended() {
			t.Fatal("two leases of one name")
		}
		mustUnlock(t, c, lease)
		if next := second.mustHold(t); next.Token() <= lease.Token() {
			t.Errorf("token %d after %d", next.Token(), lease.Token())
		}
	})
}

// The lease outlives the context that Lock was given.
func TestLeaseOutlivesLocksContext(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		lease, err := c.Lock(ctx, "x", locker.MaxWait(time.Second/2))
		if err != nil {
			t.Fatal(err)
		}
		elapse(10 * testTTL)
		if err := lease.Err(); err != nil {
			t.Errorf("Err: %v", err)
		}
		if _, ok := lease.Context().Deadline(); ok {
			t.Error("the Context has a deadline, which would not move")
		}
	})
}

// Unlock is bounded, even where the backend ignores its context.
func TestUnlockOfAStuckBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		free := make(chan struct{})
		defer close(free)
		b.unlock = func(context.Context, *backend.Grant) error { <-free; return nil }
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		start := backend.Now()
		done := make(chan error, 1)
		go func() { done <- c.Unlock(t.Context(), lease) }()
		wantIs(t, "Unlock", soon(t, done), backend.ErrUnavailable)
		if took := backend.Now().Sub(start); took > backend.Linger(testTTL) {
			t.Errorf("Unlock took %v", took)
		}
	})
}

// Renew ends, even for a lease without a deadline, if the adapter ignores its
// context.
func TestRenewOfAStuckBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		free := make(chan struct{})
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			return granted(req, time.Time{}), nil
		}
		b.renew = func(_ context.Context, grants []*backend.Grant) []backend.Renewal {
			<-free
			return make([]backend.Renewal, len(grants))
		}
		c := newClient(t, b)
		defer close(free)
		lease := mustLock(t, c, "x")
		start := backend.Now()
		wantIs(t, "Renew", c.Renew(context.Background(), lease), backend.ErrUnavailable)
		if took := backend.Now().Sub(start); took > 15*time.Second {
			t.Errorf("Renew took %v", took)
		}
		if err := lease.Err(); err != nil {
			t.Errorf("the lease has ended: %v", err)
		}
	})
}
