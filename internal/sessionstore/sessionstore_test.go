// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessionstore_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
)

const ttl = 12 * time.Second

var owners atomic.Int64

func request(name string) backend.Request {
	return backend.Request{Name: name, Owner: fmt.Sprint("owner", owners.Add(1)), TTL: ttl}
}

func lock(t *testing.T, b backend.Backend, name string) *backend.Grant {
	t.Helper()
	g, err := b.Lock(t.Context(), request(name))
	if err != nil {
		t.Fatalf("Lock(%q): %v", name, err)
	}
	return g
}

// client returns a new client of the store, which is closed with the test.
func client(t *testing.T, s *sessionstore.Store) *sessionstore.Backend {
	b := s.NewBackend()
	t.Cleanup(func() { b.Close() })
	return b
}

type result struct {
	g   *backend.Grant
	err error
}

func lockAsync(ctx context.Context, b backend.Backend, req backend.Request) <-chan result {
	done := make(chan result, 1)
	go func() {
		g, err := b.Lock(ctx, req)
		done <- result{g, err}
	}()
	return done
}

// bubble runs f under synctest, with a store.
func bubble(t *testing.T, f func(*testing.T, *sessionstore.Store)) {
	synctest.Test(t, func(t *testing.T) { f(t, sessionstore.NewStore()) })
}

// elapse moves the bubble's clock.
func elapse(d time.Duration) {
	time.Sleep(d) // sleeps: in a bubble that is how time passes
}

func TestQueueIsServedInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		holder := lock(t, a, "x")
		var waiters []<-chan result
		for i := range 6 {
			waiters = append(waiters, lockAsync(t.Context(), []backend.Backend{a, b}[i%2], request("x")))
			synctest.Wait()
		}
		for i, w := range waiters {
			if n := s.State("x").Waiters; n != 6-i {
				t.Fatalf("%d waiters before hand-over %d", n, i)
			}
			if err := a.Unlock(t.Context(), holder); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			select {
			case r := <-w:
				if r.err != nil || r.g.Token <= holder.Token {
					t.Fatalf("waiter %d: token %d after %d, err %v", i, r.g.Token, holder.Token, r.err)
				}
				holder = r.g
			default:
				t.Fatalf("waiter %d was not woken by the unlock", i)
			}
		}
		if n := b.Link.Requests(sessionstore.Verify); n != 3 {
			t.Errorf("%d verifying reads for 3 hand-overs", n)
		}
	})
}

func TestNoWaitLeavesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		lock(t, a, "x")
		req := request("x")
		req.NoWait = true
		if g, err := b.Lock(t.Context(), req); g != nil || !errors.Is(err, backend.ErrLocked) {
			t.Fatalf("%v, %v", g, err)
		}
		if n := s.State("x").Waiters; n != 0 {
			t.Errorf("%d waiters", n)
		}
	})
}

func TestSessionIsKeptAlive(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		g := lock(t, a, "x")
		elapse(10 * ttl)
		if st := s.State("x"); st.Token != g.Token {
			t.Errorf("%+v", st)
		}
		if n := a.Link.Requests(sessionstore.RenewSession); n < 19 || n > 20 {
			t.Errorf("%d renewals in 10 TTLs, want one each TTL/2", n)
		}
	})
}

// A renewal by the Client takes the place of the next keep-alive.
func TestRenewResetsTheKeepAlive(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		g := lock(t, a, "x")
		for range 10 {
			elapse(ttl / 3)
			sent := backend.Now()
			if r := a.Renew(t.Context(), []*backend.Grant{g}); r[0].Err != nil || !r[0].Until.Equal(sent.Add(ttl)) {
				t.Fatalf("%+v", r)
			}
		}
		if n := a.Link.Requests(sessionstore.RenewSession); n != 10 {
			t.Errorf("%d renewals, want the 10 of Renew", n)
		}
	})
}

// G2a: a grant carries its session's deadline and does not extend it.
func TestGrantCarriesTheSessionsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		opened := backend.Now()
		lock(t, a, "x")
		elapse(ttl/2 - time.Millisecond)
		if g := lock(t, a, "y"); !g.Until.Equal(opened.Add(ttl)) {
			t.Errorf("Until is %v after the session was opened, want %v", g.Until.Sub(opened), ttl)
		}
	})
}

// G5a: a session past its local deadline is not renewed when the network heals
// before the store's expiry, but destroyed.
func TestDeadSessionIsNotRenewed(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		s.ExpireAfter = func(ttl time.Duration) time.Duration { return 3 * ttl }
		a := client(t, s)
		g := lock(t, a, "x")
		a.Link.Cut()
		elapse(ttl)
		renewals := a.Link.Requests(sessionstore.RenewSession)
		a.Link.Hook(nil)
		elapse(ttl / 2)
		if n := a.Link.Requests(sessionstore.RenewSession); n != renewals {
			t.Errorf("%d renewals of a dead session", n-renewals)
		}
		if s.State("x").Held || s.Sessions() != 0 {
			t.Errorf("held: %+v; %d sessions", s.State("x"), s.Sessions())
		}
		if r := a.Renew(t.Context(), []*backend.Grant{g}); !errors.Is(r[0].Err, backend.ErrLost) {
			t.Errorf("Renew: %v", r[0].Err)
		}
		lock(t, a, "x")
	})
}

func TestStoreEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		lost := make(chan error, 2)
		req := request("x")
		req.Lost = func(err error) { lost <- err }
		if _, err := a.Lock(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		waiter := lockAsync(t.Context(), b, request("x"))
		synctest.Wait()
		start := backend.Now()
		s.EndSessions()
		synctest.Wait()
		if err := <-lost; !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
		if r := <-waiter; !errors.Is(r.err, backend.ErrLost) {
			t.Errorf("waiter: %v", r.err)
		}
		if took := backend.Now().Sub(start); took != 0 {
			t.Errorf("told after %v, not pushed", took)
		}
	})
}

func TestHolderDeletedByHand(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		x, y := lock(t, a, "x"), lock(t, a, "y")
		s.DeleteHolder("x")
		r := a.Renew(t.Context(), []*backend.Grant{x, y})
		if !errors.Is(r[0].Err, backend.ErrLost) || r[1].Err != nil {
			t.Errorf("%+v", r)
		}
		if err := a.Unlock(t.Context(), x); !errors.Is(err, backend.ErrLost) {
			t.Errorf("Unlock: %v", err)
		}
	})
}

// G1a: the enqueue arrives after its own clean-up.
func TestTombstoneFencesALateEnqueue(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		lock(t, a, "y")
		late := make(chan struct{})
		a.Link.Hook(func(m sessionstore.Message) sessionstore.Fate {
			if m.Kind == sessionstore.Enqueue && m.Name == "x" && !m.Reply {
				return sessionstore.Fate{Hold: late}
			}
			return sessionstore.Fate{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g, err := a.Lock(ctx, request("x"))
		if g == nil || !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("%v, %v", g, err)
		}
		if err := a.Withdraw(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		close(late)
		synctest.Wait()
		if s.State("x").Held {
			t.Error("the late enqueue was applied")
		}
		if n := s.Tombstones(); n != 1 {
			t.Errorf("%d tombstones", n)
		}
	})
}

func TestWithdrawOfAnAnsweredRequestLeavesNoTombstone(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		lock(t, a, "x")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g, err := b.Lock(ctx, request("x"))
		if g == nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%v, %v", g, err)
		}
		if err := b.Withdraw(t.Context(), g); err != nil || s.State("x").Waiters != 0 || s.Tombstones() != 0 {
			t.Errorf("%v, %+v, %d tombstones", err, s.State("x"), s.Tombstones())
		}
	})
}

// A session with too many tombstones is replaced, and ends with its last lock.
func TestSessionWithManyTombstonesIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		old := lock(t, a, "y")
		a.Link.Hook(func(m sessionstore.Message) sessionstore.Fate {
			if m.Kind == sessionstore.Enqueue && m.Name == "x" {
				return sessionstore.Fate{Refuse: errors.New("reset")}
			}
			return sessionstore.Fate{}
		})
		for range 1001 {
			g, err := a.Lock(t.Context(), request("x"))
			if !errors.Is(err, backend.ErrUnavailable) {
				t.Fatal(err)
			}
			if err := a.Withdraw(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		g := lock(t, a, "z")
		if g.Group == old.Group || s.Sessions() != 2 {
			t.Fatalf("%d sessions", s.Sessions())
		}
		if err := a.Unlock(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.Sessions() != 1 || s.Tombstones() != 0 || !s.State("z").Held {
			t.Errorf("%d sessions, %d tombstones, z %+v", s.Sessions(), s.Tombstones(), s.State("z"))
		}
	})
}

// SPI-wait: a waiter outlives an outage that its session outlives.
func TestWaiterOutlivesAnOutage(t *testing.T) {
	for _, cut := range []func(*sessionstore.Link){(*sessionstore.Link).Cut, (*sessionstore.Link).Refuse} {
		bubble(t, func(t *testing.T, s *sessionstore.Store) {
			a, b := client(t, s), client(t, s)
			g := lock(t, a, "x")
			waiter := lockAsync(t.Context(), b, request("x"))
			synctest.Wait()
			cut(b.Link)
			elapse(time.Second)
			if err := a.Unlock(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			elapse(ttl / 4)
			b.Link.Hook(nil)
			if r := <-waiter; r.err != nil || !s.State("x").Held {
				t.Errorf("%v", r.err)
			}
		})
	}
}

// A waiter whose session passed its local deadline gives up, though cut off.
func TestWaiterEndsWithItsSession(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		lock(t, a, "x")
		waiter := lockAsync(t.Context(), b, request("x"))
		synctest.Wait()
		start := backend.Now()
		b.Link.Cut()
		r := <-waiter
		if took := backend.Now().Sub(start); r.g == nil || !errors.Is(r.err, backend.ErrLost) || took > ttl {
			t.Errorf("%v, %v after %v", r.g, r.err, took)
		}
	})
}

func TestDeadHolderIsReclaimed(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		lock(t, a, "x")
		start := backend.Now()
		waiter := lockAsync(t.Context(), b, request("x"))
		synctest.Wait()
		a.Link.Cut()
		if r := <-waiter; r.err != nil {
			t.Fatal(r.err)
		}
		if took := backend.Now().Sub(start); took != b.Info().Reclaim(ttl) {
			t.Errorf("reclaimed after %v", took)
		}
	})
}

func TestOpenFails(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		a.Link.Cut()
		start := backend.Now()
		if g, err := a.Lock(t.Context(), request("x")); g != nil || !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("%v, %v", g, err)
		}
		if took := backend.Now().Sub(start); took > 5*time.Second {
			t.Errorf("failed after %v", took)
		}
		a.Link.Hook(nil)
		lock(t, a, "x")
	})
}

func TestCloseEndsTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a, b := client(t, s), client(t, s)
		lock(t, a, "x")
		lock(t, b, "y")
		a.Close()
		if s.Sessions() != 1 || s.State("x").Held {
			t.Errorf("%d sessions, %+v", s.Sessions(), s.State("x"))
		}
		b.Link.Cut()
		start := backend.Now()
		b.Close()
		if took := backend.Now().Sub(start); took > 3*time.Second {
			t.Errorf("Close of a cut client took %v", took)
		}
		if _, err := a.Lock(t.Context(), request("x")); err == nil {
			t.Error("Lock after Close")
		}
	})
}

func TestCostDoesNotGrowWithLocksHeld(t *testing.T) {
	bubble(t, func(t *testing.T, s *sessionstore.Store) {
		a := client(t, s)
		lock(t, a, "first")
		goroutines := runtime.NumGoroutine()
		for i := range 1000 {
			lock(t, a, fmt.Sprint(i))
		}
		if n := runtime.NumGoroutine() - goroutines; n > 0 {
			t.Errorf("%d goroutines for 1000 locks held", n)
		}
		before := a.Link.Requests()
		elapse(ttl)
		if n := a.Link.Requests() - before; n > 8 {
			t.Errorf("%d requests in one TTL with 1000 locks held", n)
		}
	})
}
