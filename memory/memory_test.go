// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker/backend"
)

const ttl = 3 * time.Second

// A call is one call of Lock and what came of it. Its results are read after
// <-done or synctest.Wait.
type call struct {
	backend.Request
	cancel context.CancelFunc
	done   chan struct{}

	grant *backend.Grant
	err   error

	mu     sync.Mutex
	queued int
	lost   []error
}

var owners = struct {
	sync.Mutex
	n int
}{}

// newCall returns a call of a new owner. Its Lost and Queued look at the store,
// which deadlocks if they are called with the mutex held.
func newCall(b *Backend, name string) *call {
	owners.Lock()
	owners.n++
	n := owners.n
	owners.Unlock()
	c := &call{done: make(chan struct{})}
	c.Request = backend.Request{
		Name:  name,
		Owner: fmt.Sprintf("owner-%d", n),
		Note:  fmt.Sprintf("note-%d", n),
		TTL:   ttl,
		Queued: func() {
			_, _ = b.Inspect(context.Background(), name)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.queued++
		},
		Lost: func(err error) {
			_, _ = b.Inspect(context.Background(), name)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.lost = append(c.lost, err)
		},
	}
	return c
}

func (c *call) start(b *Backend) *call {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go func() {
		defer close(c.done)
		c.grant, c.err = b.Lock(ctx, c.Request)
	}()
	return c
}

// pass lets d pass in the bubble.
func pass(d time.Duration) {
	time.Sleep(d) // sleeps: on the bubble's clock, at once
}

// lock starts a call, and returns when it is granted or waits.
func lock(b *Backend, name string) *call {
	c := newCall(b, name).start(b)
	synctest.Wait()
	return c
}

func (c *call) counts() (queued, lost int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queued, len(c.lost)
}

// result waits until Lock has returned, and returns its error.
func (c *call) result() error {
	<-c.done
	return c.err
}

func (c *call) waits() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// wantHolds fails unless the call was granted with a full TTL, now.
func (c *call) wantHolds(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if c.waits() || c.err != nil {
		t.Fatalf("%s was not granted: waits %v, error %v", c.Owner, c.waits(), c.err)
	}
	if want := backend.Now().Add(c.TTL); !c.grant.Until.Equal(want) {
		t.Errorf("Until is %v from now, want the TTL", c.grant.Until.Sub(backend.Now()))
	}
	if _, lost := c.counts(); lost != 0 {
		t.Errorf("%s was told %d losses", c.Owner, lost)
	}
}

func (c *call) wantWaits(t *testing.T) {
	t.Helper()
	synctest.Wait()
	if !c.waits() {
		t.Fatalf("%s does not wait: error %v", c.Owner, c.err)
	}
}

func (c *call) wantLost(t *testing.T, n int) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lost) != n {
		t.Errorf("%s was told %d losses, want %d", c.Owner, len(c.lost), n)
	}
	for _, err := range c.lost {
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("%s was told %v, want an error that wraps ErrLost", c.Owner, err)
		}
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func wantEmpty(t *testing.T, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) != 0 {
		t.Errorf("the store still has %d names: %v", len(s.names), s.names)
	}
}

// bubble runs f with two clients of one store, in a bubble, and looks that it
// leaves nothing.
func bubble(t *testing.T, f func(t *testing.T, a, b *Backend)) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStore()
		f(t, s.Backend(), s.Backend())
		wantEmpty(t, s)
	})
}

func unlock(t *testing.T, b *Backend, c *call) {
	t.Helper()
	if err := c.result(); err != nil {
		t.Fatalf("Lock of %s: %v", c.Owner, err)
	}
	if err := b.Unlock(t.Context(), c.grant); err != nil {
		t.Errorf("Unlock of %s: %v", c.Owner, err)
	}
}

func TestHandOverIsFIFO(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		clients := []*Backend{a, b}
		var calls []*call
		for i := range 20 {
			calls = append(calls, lock(clients[i%2], "job"))
		}
		var token int64
		for i, c := range calls {
			c.wantHolds(t)
			for _, later := range calls[i+1:] {
				later.wantWaits(t)
			}
			if c.grant.Token <= token {
				t.Errorf("token %d follows %d", c.grant.Token, token)
			}
			token = c.grant.Token
			if q, _ := c.counts(); q != min(i, 1) {
				t.Errorf("call %d: Queued was called %d times", i, q)
			}
			unlock(t, clients[i%2], c)
			c.wantLost(t, 0)
		}
	})
}

func TestNamesAreIndependent(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		x, y := lock(a, "x"), lock(b, "y")
		x.wantHolds(t)
		y.wantHolds(t)
		unlock(t, a, x)
		unlock(t, b, y)
	})
}

func TestSameClientIsNotReentrant(t *testing.T) {
	bubble(t, func(t *testing.T, a, _ *Backend) {
		first, second := lock(a, "job"), lock(a, "job")
		second.wantWaits(t)
		unlock(t, a, first)
		second.wantHolds(t)
		unlock(t, a, second)
	})
}

func TestNoWait(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		held := lock(a, "job")
		c := newCall(b, "job")
		c.NoWait = true
		_, err := b.Lock(t.Context(), c.Request)
		wantErr(t, "NoWait on a held lock", err, backend.ErrLocked)
		if q, _ := c.counts(); q != 0 {
			t.Errorf("NoWait called Queued %d times", q)
		}
		unlock(t, a, held)
		wantEmpty(t, a.store)

		c.start(b).wantHolds(t)
		unlock(t, b, c)
	})
}

func TestEndedContextFailsOnAFreeLock(t *testing.T) {
	bubble(t, func(t *testing.T, a, _ *Backend) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := a.Lock(ctx, newCall(a, "job").Request)
		wantErr(t, "Lock", err, context.Canceled)
	})
}

func TestExpiryHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		dead := lock(a, "job")
		next, last := lock(b, "job"), lock(b, "job")

		pass(ttl - 1)
		next.wantWaits(t)
		dead.wantLost(t, 0)
		pass(1)
		next.wantHolds(t)
		last.wantWaits(t)
		dead.wantLost(t, 1)

		// The dead one comes back to life: it changes nothing for its successor.
		wantErr(t, "Renew", a.Renew(t.Context(), []*backend.Grant{dead.grant})[0].Err, backend.ErrLost)
		wantErr(t, "Unlock", a.Unlock(t.Context(), dead.grant), backend.ErrLost)
		wantErr(t, "Withdraw", a.Withdraw(t.Context(), dead.grant), nil)
		next.wantLost(t, 0)
		last.wantWaits(t)

		pass(ttl)
		next.wantLost(t, 1)
		last.wantHolds(t)
		pass(ttl)
		last.wantLost(t, 1)
		dead.wantLost(t, 1)
	})
}

func TestExpiryWithoutSuccessor(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		c := lock(a, "job")
		pass(ttl)
		c.wantLost(t, 1)
		wantEmpty(t, a.store)
		wantErr(t, "Renew", a.Renew(t.Context(), []*backend.Grant{c.grant})[0].Err, backend.ErrLost)
		c2 := lock(b, "job")
		c2.wantHolds(t)
		if c2.grant.Token <= c.grant.Token {
			t.Errorf("token %d follows %d", c2.grant.Token, c.grant.Token)
		}
		unlock(t, b, c2)
	})
}

// A timer stands still while the machine is suspended, the clock of leases does
// not: so each operation has to look at the clock.
func TestLateTimerKeepsNothingAlive(t *testing.T) {
	ops := map[string]func(t *testing.T, b *Backend, old *call){
		"Lock": func(t *testing.T, b *Backend, _ *call) {
			c := newCall(b, "job")
			c.NoWait = true
			c.start(b).wantHolds(t)
			unlock(t, b, c)
		},
		"Renew": func(t *testing.T, b *Backend, old *call) {
			wantErr(t, "Renew", b.Renew(t.Context(), []*backend.Grant{old.grant})[0].Err, backend.ErrLost)
		},
		"Unlock": func(t *testing.T, b *Backend, old *call) {
			wantErr(t, "Unlock", b.Unlock(t.Context(), old.grant), backend.ErrLost)
		},
		"Withdraw": func(t *testing.T, b *Backend, old *call) {
			wantErr(t, "Withdraw", b.Withdraw(t.Context(), old.grant), nil)
		},
		"Inspect": func(t *testing.T, b *Backend, _ *call) {
			if st, _ := b.Inspect(t.Context(), "job"); st.Held {
				t.Errorf("Inspect: still held")
			}
		},
		"Break": func(t *testing.T, b *Backend, _ *call) {
			if b.Break("job") {
				t.Errorf("Break found something to break")
			}
		},
	}
	for op, f := range ops {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T, a, b *Backend) {
				old := lock(a, "job")
				a.store.mu.Lock()
				a.store.names["job"][0].Until = backend.Now()
				a.store.mu.Unlock()
				f(t, b, old)
				old.wantLost(t, 1)
				wantEmpty(t, a.store)
				pass(ttl) // the timer runs now, to no effect
				old.wantLost(t, 1)
			})
		})
	}
}

func TestRenewDefersExpiry(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		x, y := lock(a, "x"), lock(a, "y")
		next := lock(b, "x")
		for range 10 {
			pass(ttl * 2 / 3)
			for i, r := range a.Renew(t.Context(), []*backend.Grant{x.grant, y.grant}) {
				if r.Err != nil || !r.Until.Equal(backend.Now().Add(ttl)) {
					t.Fatalf("renewal %d: %v from now, error %v", i, r.Until.Sub(backend.Now()), r.Err)
				}
			}
			next.wantWaits(t)
		}
		pass(ttl - 1)
		next.wantWaits(t)
		pass(1)
		next.wantHolds(t)
		x.wantLost(t, 1)
		y.wantLost(t, 1)

		// One lost grant does not spoil the renewal of the others.
		rs := b.Renew(t.Context(), []*backend.Grant{x.grant, next.grant})
		wantErr(t, "the lost one", rs[0].Err, backend.ErrLost)
		wantErr(t, "the held one", rs[1].Err, nil)
		unlock(t, b, next)
	})
}

func TestUnlockIsExact(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		first, second, third := lock(a, "job"), lock(b, "job"), lock(b, "job")

		ended, cancel := context.WithCancel(t.Context())
		cancel()
		wantErr(t, "Unlock with an ended context", a.Unlock(ended, first.grant), nil)
		second.wantHolds(t)

		wantErr(t, "second Unlock", a.Unlock(t.Context(), first.grant), backend.ErrLost)
		wantErr(t, "Unlock of a waiter", b.Unlock(t.Context(), &backend.Grant{Request: third.Request}), backend.ErrLost)
		other := *second.grant
		other.Owner = "someone else"
		wantErr(t, "Unlock by another owner", b.Unlock(t.Context(), &other), backend.ErrLost)
		other = *second.grant
		other.Name = "another"
		wantErr(t, "Unlock of another name", b.Unlock(t.Context(), &other), backend.ErrLost)
		third.wantWaits(t)

		unlock(t, b, second)
		unlock(t, b, third)
		for _, c := range []*call{first, second, third} {
			c.wantLost(t, 0)
		}
	})
}

func TestCancelledWaiterDelaysNobody(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		first := lock(a, "job")
		middle, last := lock(b, "job"), lock(b, "job")
		middle.cancel()
		synctest.Wait()
		wantErr(t, "cancelled Lock", middle.result(), context.Canceled)
		if st, _ := a.Inspect(t.Context(), "job"); st.Waiters != 1 {
			t.Errorf("%d waiters, want 1", st.Waiters)
		}
		unlock(t, a, first)
		last.wantHolds(t)
		unlock(t, b, last)
	})
}

// At the moment of the grant the waiter's context ends. Either may win, but the
// lock must not stay with one who has left.
func TestCancelAtTheMomentOfTheGrant(t *testing.T) {
	var won, left int
	for i := range 300 {
		bubble(t, func(t *testing.T, a, b *Backend) {
			first, second, third := lock(a, "job"), lock(b, "job"), lock(b, "job")
			if i%2 == 0 {
				go second.cancel()
				unlock(t, a, first)
			} else {
				time.AfterFunc(ttl, second.cancel) // with the expiry of the first
				pass(ttl)
			}
			synctest.Wait()
			if second.result() == nil {
				won++
				unlock(t, b, second)
			} else {
				left++
				wantErr(t, "Lock", second.result(), context.Canceled)
			}
			second.wantLost(t, 0)
			third.wantHolds(t)
			unlock(t, b, third)
		})
	}
	t.Logf("%d were granted, %d left", won, left)
}

// The same, with the order forced: the grant lies ready and is not taken up.
func TestLeavingAfterTheGrantHandsOver(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		first := lock(a, "job")
		c, err := b.store.enter(b, newCall(b, "job").Request)
		if err != nil {
			t.Fatal(err)
		}
		third := lock(b, "job")
		unlock(t, a, first)
		third.wantWaits(t)
		b.store.leave(c)
		third.wantHolds(t)
		unlock(t, b, third)
	})
}

// And then the grant is lost before the waiter leaves: the lock is another's.
func TestLeavingAfterALossTouchesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		c, err := a.store.enter(a, newCall(a, "job").Request)
		if err != nil {
			t.Fatal(err)
		}
		second, third := lock(b, "job"), lock(b, "job")
		a.Break("job")
		second.wantHolds(t)
		a.store.leave(c)
		third.wantWaits(t)
		wantErr(t, "Renew", b.Renew(t.Context(), []*backend.Grant{second.grant})[0].Err, nil)
		unlock(t, b, second)
		unlock(t, b, third)
	})
}

// Else it would keep what it refers to in memory, for up to the TTL.
func TestUnlockStopsTheTimer(t *testing.T) {
	bubble(t, func(t *testing.T, a, _ *Backend) {
		c := lock(a, "job")
		timer := a.store.names["job"][0].timer
		unlock(t, a, c)
		if timer.Stop() {
			t.Error("the timer of a grant runs after Unlock")
		}
	})
}

func TestBreak(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		if a.Break("job") {
			t.Errorf("Break found a grant of a free lock")
		}
		first, second := lock(a, "job"), lock(b, "job")
		if !b.Break("job") {
			t.Errorf("Break found no grant")
		}
		if _, lost := first.counts(); lost != 1 {
			t.Errorf("Lost was called %d times before Break returned, want 1", lost)
		}
		second.wantHolds(t)
		wantErr(t, "Renew", a.Renew(t.Context(), []*backend.Grant{first.grant})[0].Err, backend.ErrLost)
		wantErr(t, "Unlock", a.Unlock(t.Context(), first.grant), backend.ErrLost)
		pass(ttl - 1)
		first.wantLost(t, 1)
		second.wantLost(t, 0)
		unlock(t, b, second)
	})
}

func TestNilCallbacks(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		for _, owner := range []string{"broken", "expired"} {
			c := &call{done: make(chan struct{}), Request: backend.Request{Name: "job", Owner: owner, TTL: ttl}}
			c.start(a)
		}
		synctest.Wait()
		a.Break("job")
		pass(ttl)
		synctest.Wait()
	})
}

func TestWithdraw(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		first, second, third := lock(a, "job"), lock(b, "job"), lock(a, "job")
		for range 2 {
			wantErr(t, "Withdraw of a waiter", b.Withdraw(t.Context(), &backend.Grant{Request: second.Request}), nil)
			synctest.Wait()
			wantErr(t, "its Lock", second.result(), backend.ErrLost)
			third.wantWaits(t)
		}
		stranger := *first.grant
		stranger.Owner = "someone else"
		wantErr(t, "Withdraw of nothing", a.Withdraw(t.Context(), &stranger), nil)
		third.wantWaits(t)
		for range 2 {
			wantErr(t, "Withdraw of the holder", a.Withdraw(t.Context(), first.grant), nil)
			third.wantHolds(t)
		}
		unlock(t, a, third)
		for _, c := range []*call{first, second, third} {
			c.wantLost(t, 0)
		}
	})
}

func TestInspect(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		if st, err := a.Inspect(t.Context(), "job"); err != nil || st != (backend.State{}) {
			t.Errorf("free lock: %+v, %v", st, err)
		}
		first := lock(a, "job")
		since := backend.Now()
		second := lock(b, "job")
		pass(time.Second)
		st, err := b.Inspect(t.Context(), "job")
		want := backend.State{Held: true, Note: first.Note, Token: first.grant.Token, Since: since, Waiters: 1}
		if err != nil || st != want {
			t.Errorf("held lock: %+v, %v, want %+v", st, err, want)
		}
		unlock(t, a, first)
		synctest.Wait()
		unlock(t, b, second)
	})
}

func TestGrantOfAClient(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		x, y, z := lock(a, "x"), lock(a, "y"), lock(b, "z")
		if x.grant.Group != y.grant.Group || x.grant.Group == z.grant.Group {
			t.Errorf("groups %v, %v of one client and %v of another", x.grant.Group, y.grant.Group, z.grant.Group)
		}
		if x.grant.Name != "x" || x.grant.Owner != x.Owner || x.grant.Note != x.Note || x.grant.TTL != x.TTL {
			t.Errorf("the grant has another request: %+v", x.grant.Request)
		}
		unlock(t, a, x)
		unlock(t, a, y)
		unlock(t, b, z)
	})
}

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, a, b *Backend) {
		held, free := lock(a, "job"), lock(a, "other")
		waiting := lock(a, "job")
		next := lock(b, "job")
		for range 2 {
			wantErr(t, "Close", a.Close(), nil)
		}
		next.wantHolds(t)
		wantErr(t, "waiting Lock", waiting.result(), backend.ErrLost)
		wantErr(t, "Unlock", a.Unlock(t.Context(), free.grant), backend.ErrLost)
		wantErr(t, "Withdraw", a.Withdraw(t.Context(), held.grant), nil)
		_, err := a.Lock(t.Context(), newCall(a, "third").Request)
		wantErr(t, "Lock", err, errClosed)
		for _, c := range []*call{held, free, waiting} {
			c.wantLost(t, 0)
		}
		unlock(t, b, next)
	})
}

func TestInfo(t *testing.T) {
	info := New().Info()
	if info.Name != "memory" || !info.Fencing || !info.Fair || info.Poll != 0 {
		t.Errorf("Info: %+v", info)
	}
	if got := info.Reclaim(ttl); got != ttl {
		t.Errorf("Reclaim(%v) is %v", ttl, got)
	}
	if err := info.CheckTTL(100 * time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestHeldLocksCostNoGoroutine(t *testing.T) {
	b := New()
	before := runtime.NumGoroutine()
	grants := make([]*backend.Grant, 10_000)
	for i := range grants {
		req := newCall(b, fmt.Sprintf("job-%d", i)).Request
		req.TTL = time.Hour
		var err error
		if grants[i], err = b.Lock(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	b.Renew(t.Context(), grants)
	// Goroutines of earlier tests may still end, none may be added.
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("10,000 held locks added %d goroutines", after-before)
	}
	for _, g := range grants {
		if err := b.Unlock(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	wantEmpty(t, b.store)
}

// Channels and timers belong to a contender, so bubbles can share a store.
func TestStoreOutlivesABubble(t *testing.T) {
	s := NewStore()
	for i := range 3 {
		synctest.Test(t, func(t *testing.T) {
			a, b := s.Backend(), s.Backend()
			first, second, third := lock(a, "job"), lock(b, "job"), lock(b, "job")
			unlock(t, a, first)
			second.wantHolds(t)
			pass(ttl)
			third.wantHolds(t)
			unlock(t, b, third)
			lock(a, fmt.Sprintf("never unlocked in bubble %d", i))
		})
	}
	// Out of any bubble: by this clock those grants expired long ago.
	b := s.Backend()
	for i := range 3 {
		req := newCall(b, fmt.Sprintf("never unlocked in bubble %d", i)).Request
		req.NoWait = true
		g, err := b.Lock(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Unlock(t.Context(), g); err != nil {
			t.Error(err)
		}
	}
	wantEmpty(t, s)
}

func TestExclusionUnderContention(t *testing.T) {
	const clients, locks = 20, 50
	s := NewStore()
	var wg sync.WaitGroup
	var tokens []int64 // guarded by the lock alone
	for range clients {
		b := s.Backend()
		wg.Go(func() {
			for range locks {
				req := newCall(b, "job").Request
				req.TTL = time.Hour
				g, err := b.Lock(t.Context(), req)
				if err != nil {
					t.Error(err)
					return
				}
				tokens = append(tokens, g.Token)
				if err := b.Unlock(t.Context(), g); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(tokens) != clients*locks || !slices.IsSorted(tokens) || len(slices.Compact(tokens)) != clients*locks {
		t.Errorf("%d tokens, want %d that grow", len(tokens), clients*locks)
	}
	wantEmpty(t, s)
}
