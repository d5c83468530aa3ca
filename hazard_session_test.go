// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
)

// The enqueue is held in the network; its Lock is cancelled and cleaned up;
// then it arrives, in a session that lives on for another lock.
func TestHazard_G1a_LateEnqueue(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, link := newSession(t, s)
		b, _ := newSession(t, s)
		mustLock(t, a, "other")
		arrive := make(chan struct{})
		link.Hook(onRequest(sessionstore.Enqueue, sessionstore.Fate{Hold: arrive}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Lock(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Lock: %v", err)
		}
		elapse(testTTL / 2)
		close(arrive)
		synctest.Wait()
		link.Hook(nil)
		if s.State("x").Held {
			t.Fatal("a Lock that was given up holds the lock")
		}
		mustUnlock(t, b, mustLock(t, b, "x", locker.NoWait()))
		mustUnlock(t, a, mustLock(t, a, "x", locker.NoWait())) // its tombstone stops no other request
	})
}

// A further try has an owner of its own: it must not meet the tombstone of the
// one before.
func TestHazard_G1a_OwnerPerTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		tries := 0
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			if tries++; tries < 4 {
				return nil, locker.ErrLost
			}
			return b.Backend.Lock(ctx, req)
		}
		mustLock(t, newClient(t, b), "x")
		seen := map[string]bool{}
		for _, call := range b.of("lock") {
			if seen[call.owner] || len(call.owner) < 26 {
				t.Errorf("owner %q: used before, or guessable", call.owner)
			}
			seen[call.owner] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d owners for 4 tries", len(seen))
		}
	})
}

// A grant does not extend its session: the lease ends by the session's
// deadline, before the store gives the lock to another.
func TestHazard_G2a_SessionsDeadline(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, link := newSession(t, s)
		b, _ := newSession(t, s)
		opened := backend.Now()
		mustLock(t, a, "first")
		elapse(testTTL/3 - 10*time.Millisecond) // just before the session is renewed
		lease := mustLock(t, a, "x")
		if want := opened.Add(testTTL - backend.Margin(testTTL)); !lease.Deadline().Equal(want) {
			t.Errorf("the deadline is %v after the session was opened, want %v", lease.Deadline().Sub(opened), want.Sub(opened))
		}
		link.Cut()
		lost := lostAt(lease)
		waiter := lockAsync(t.Context(), b, "x")
		soon(t, waiter.done)
		waiter.mustHold(t)
		if late := soon(t, lost).Sub(waiter.at); late >= 0 {
			t.Errorf("the lease ended %v after the next grant", late)
		}
	})
}

// The death of a session is pushed to its leases and its waiters.
func TestHazard_G2f_SessionEnded(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		x, y := mustLock(t, a, "x"), mustLock(t, a, "y")
		elapse(time.Second)
		s.EndSessions()
		synctest.Wait()
		for _, lease := range []*locker.Lease{x, y} {
			wantIs(t, "cause", context.Cause(lease.Context()), locker.ErrLost)
			wantIs(t, "Err", lease.Err(), locker.ErrLost)
		}
		if again := mustLock(t, a, "x"); again.Token() <= x.Token() {
			t.Errorf("token %d after %d", again.Token(), x.Token())
		}
	})
}

// A key that somebody deleted under a living session is found by the renewal.
func TestHazard_G2f_KeyDeleted(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		x, y := mustLock(t, a, "x"), mustLock(t, a, "y")
		elapse(testTTL)
		s.DeleteHolder("x")
		next := mustLock(t, b, "x", locker.NoWait())
		elapse(testTTL/3 + testTick)
		wantIs(t, "Err", x.Err(), locker.ErrLost)
		if err := y.Err(); err != nil {
			t.Errorf("the other lease of the session ended: %v", err)
		}
		if next.Token() <= x.Token() {
			t.Errorf("token %d after %d", next.Token(), x.Token())
		}
		wantIs(t, "Unlock", a.Unlock(t.Context(), x), locker.ErrLost)
		if err := next.Err(); err != nil {
			t.Errorf("the successor was harmed: %v", err)
		}
	})
}

// The network heals after the local deadline and before the store's: the
// session that was given up must go, with its keys.
func TestHazard_G5a_GivenUpSession(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		s.ExpireAfter = func(ttl time.Duration) time.Duration { return 3 * ttl }
		a, link := newSession(t, s)
		b, _ := newSession(t, s)
		lease := mustLock(t, a, "x")
		waiter := lockAsync(t.Context(), b, "x")
		synctest.Wait()
		link.Cut()
		elapse(testTTL)
		wantIs(t, "Err", lease.Err(), locker.ErrLost)
		renewals := link.Requests(sessionstore.RenewSession)
		link.Hook(nil)
		elapse(testTTL / 3)
		waiter.mustHold(t)
		if n := link.Requests(sessionstore.RenewSession) - renewals; n != 0 {
			t.Errorf("the dead session was renewed %d times", n)
		}
	})
}

// On a store with a TTL per lock, a lease that ended locally is not renewed,
// and does not keep its successor out: it is withdrawn.
func TestHazard_G5a_GivenUpLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			return granted(req, backend.Now().Add(testTTL)), nil
		}
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			return []backend.Renewal{{Err: silent(ctx)}}
		}
		lease := mustLock(t, newClient(t, b), "x")
		soon(t, lease.Context().Done())
		elapse(0)
		if n := len(b.of("withdraw")); n != 1 {
			t.Errorf("%d withdrawals", n)
		}
		b.set(func() { b.renew = nil })
		renewals := len(b.of("renew"))
		elapse(2 * testTTL)
		if n := len(b.of("renew")) - renewals; n != 0 {
			t.Errorf("%d renewals of a lease that had ended", n)
		}
	})
}

// The request of an Unlock is lost, and the session lives on for other locks.
func TestHazard_G5b_UnlockLost(t *testing.T) {
	for _, outage := range []time.Duration{testTTL / 2, 10 * testTTL} {
		simulated(t, func(t *testing.T, s *sessionstore.Store) {
			a, link := newSession(t, s)
			b, _ := newSession(t, s)
			other, lease := mustLock(t, a, "other"), mustLock(t, a, "x")
			waiter := lockAsync(t.Context(), b, "x")
			synctest.Wait()
			link.Hook(func(m sessionstore.Message) sessionstore.Fate {
				return sessionstore.Fate{Lose: m.Kind == sessionstore.Delete || m.Kind == sessionstore.Withdraw}
			})
			start := backend.Now()
			err := a.Unlock(t.Context(), lease)
			wantIs(t, "Unlock", err, backend.ErrUnavailable)
			wantIsNot(t, "Unlock", err, locker.ErrLost)
			if took := backend.Now().Sub(start); took > backend.Linger(testTTL) {
				t.Errorf("Unlock took %v", took)
			}
			wantIs(t, "Err", lease.Err(), locker.ErrUnlocked)
			elapse(outage)
			if waiter.ended() {
				t.Fatal("the test is wrong: the waiter has the lock")
			}
			link.Hook(nil)
			elapse(testTTL/3 + backend.Linger(testTTL))
			waiter.mustHold(t)
			if err := other.Err(); err != nil {
				t.Errorf("the other lease ended: %v", err)
			}
		})
	}
}

// From Unlock's first line on the lease is not renewed, however long its end is
// not acknowledged.
func TestHazard_G5b_NotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.renew = renewAll
		b.unlock = func(ctx context.Context, _ *backend.Grant) error { return silent(ctx) }
		b.withdraw = b.unlock
		c := newClient(t, b)
		mustLock(t, c, "other")
		lease := mustLock(t, c, "x")
		if c.Unlock(t.Context(), lease) == nil {
			t.Fatal("acknowledged by nobody")
		}
		elapse(3 * testTTL)
		for _, call := range b.of("renew") {
			if call.grants != 1 {
				t.Errorf("%d leases renewed where one is held", call.grants)
			}
		}
	})
}

// A cancelled waiter in the middle delays nobody.
func TestHazard_G5c_CancelledWaiter(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		c, _ := newSession(t, s)
		lease := mustLock(t, a, "x")
		ctx, cancel := context.WithCancel(t.Context())
		middle := lockAsync(ctx, b, "x")
		synctest.Wait()
		last := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		start := backend.Now()
		cancel()
		synctest.Wait()
		if n := s.State("x").Waiters; n != 1 {
			t.Errorf("%d waiters after one of two was cancelled", n)
		}
		mustUnlock(t, a, lease)
		last.mustHold(t)
		if took := last.at.Sub(start); took != 0 {
			t.Errorf("the last waiter was delayed by %v", took)
		}
		if !middle.ended() || middle.err == nil {
			t.Error("the cancelled waiter got the lock, or still waits")
		}
	})
}

// A dead waiter delays those behind it by Reclaim at most, and one that is cut
// off returns nothing when it comes back.
func TestHazard_G5c_DeadWaiter(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, link := newSession(t, s)
		c, _ := newSession(t, s)
		lease := mustLock(t, a, "x")
		middle := lockAsync(t.Context(), b, "x")
		synctest.Wait()
		last := lockAsync(t.Context(), c, "x")
		synctest.Wait()
		link.Cut()
		cut := backend.Now()
		mustUnlock(t, a, lease)
		soon(t, last.done)
		held := last.mustHold(t)
		if took := last.at.Sub(cut); took > c.Info().Reclaim(testTTL) {
			t.Errorf("the last waiter was delayed by %v", took)
		}
		link.Hook(nil)
		elapse(testTTL)
		if middle.ended() {
			t.Fatalf("the waiter that was dead: %v, %v, while another holds the lock", middle.lease, middle.err)
		}
		mustUnlock(t, c, held)
		middle.mustHold(t)
	})
}

// The store applied the delete of an Unlock, its reply was lost.
func TestHazard_G7a_ReplyLost(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, link := newSession(t, s)
		lease := mustLock(t, a, "x")
		link.Hook(once(onReply(sessionstore.Delete, sessionstore.Fate{Lose: true})))
		if err := a.Unlock(t.Context(), lease); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		if s.State("x").Held {
			t.Error("the lock is held")
		}
	})
}

// A first attempt that finds the lock gone is a loss.
func TestHazard_G7a_Gone(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		lease := mustLock(t, a, "x")
		s.DeleteHolder("x")
		wantIs(t, "Unlock", a.Unlock(t.Context(), lease), locker.ErrLost)
		wantIs(t, "second Unlock", a.Unlock(t.Context(), lease), locker.ErrUnlocked)
	})
}

// An unanswered attempt does not explain what is gone after the deadline: it
// may have expired, and the critical section with it.
func TestHazard_G7a_GoneAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			return []backend.Renewal{{Err: silent(ctx)}}
		}
		first := true
		b.unlock = func(ctx context.Context, g *backend.Grant) error {
			if first {
				first = false
				return silent(ctx)
			}
			return locker.ErrLost
		}
		c := newClient(t, b)
		for _, before := range []time.Duration{5 * time.Second, 500 * time.Millisecond} {
			lease := mustLock(t, c, "x", locker.NoRenew())
			elapse(lease.Deadline().Sub(backend.Now()) - before)
			first = true
			err := c.Unlock(t.Context(), lease)
			if passed := !backend.Now().Before(lease.Deadline()); errors.Is(err, locker.ErrLost) != passed {
				t.Errorf("Unlock %v before the deadline: %v", before, err)
			}
			b.Break("x")
		}
	})
}

// What the error of a Lock that gave up says.
func TestHazard_G9a_Held(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		mustLock(t, a, "x")

		_, err := b.Lock(t.Context(), "x", locker.MaxWait(time.Second))
		wantIs(t, "MaxWait", err, locker.ErrLocked, context.DeadlineExceeded)

		why := errors.New("the user went home")
		ctx, cancel := context.WithCancelCause(t.Context())
		waiter := lockAsync(ctx, b, "x")
		synctest.Wait()
		cancel(why)
		soon(t, waiter.done)
		wantIs(t, "cancelled", waiter.err, locker.ErrLocked, context.Canceled, why)

		_, err = b.Lock(t.Context(), "x", locker.NoWait())
		wantIs(t, "NoWait", err, locker.ErrLocked)
		var e *locker.Error
		if !errors.As(err, &e) || e.Op != "lock" || e.Backend != "sessionstore" || e.Name != "x" {
			t.Errorf("%#v names not the operation, the backend and the lock", e)
		}

		_, err = b.Lock(ctx, "free")
		wantIs(t, "ended before", err, context.Canceled, why)
		wantIsNot(t, "ended before", err, locker.ErrLocked)
	})
}

func TestHazard_G9a_Unreachable(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, link := newSession(t, s)
		mustLock(t, a, "x")
		link.Hook(func(sessionstore.Message) sessionstore.Fate { return sessionstore.Fate{Refuse: errDriver} })
		for _, opts := range [][]locker.Option{nil, {locker.NoWait()}, {locker.MaxWait(time.Second)}} {
			_, err := b.Lock(t.Context(), "x", opts...)
			wantIs(t, "refused", err, errDriver)
			wantIsNot(t, "refused", err, locker.ErrLocked)
		}
		link.Cut()
		for _, opts := range [][]locker.Option{nil, {locker.NoWait()}, {locker.MaxWait(time.Second)}} {
			_, err := b.Lock(t.Context(), "x", opts...)
			if err == nil {
				t.Fatal("Lock of a dead store")
			}
			wantIsNot(t, "cut off", err, locker.ErrLocked)
		}
	})
}

// ErrClosed in the cause of the user's context is about another client, such as
// that of a lock around this one.
func TestHazard_G9a_CauseOfAnotherClient(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		outer := mustLock(t, a, "outer")
		mustLock(t, a, "x")
		other, _ := newSession(t, s)
		mustLock(t, other, "y")
		waiter := lockAsync(outer.Context(), b, "y")
		synctest.Wait()
		a.Close()
		soon(t, waiter.done)
		wantIs(t, "Lock", waiter.err, context.Canceled, locker.ErrUnlocked, locker.ErrLocked)
	})
}
