// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
)

// A Lock whose ctx ended returns at once, though the backend's does not; what
// is granted late is withdrawn.
func TestHazard_G6a_LateGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			<-ctx.Done()
			timer := time.NewTimer(time.Second)
			<-timer.C
			return b.Backend.Lock(context.Background(), req)
		}
		c := newClient(t, b)
		start := backend.Now()
		_, err := c.Lock(t.Context(), "x", locker.MaxWait(time.Second))
		wantIs(t, "Lock", err, context.DeadlineExceeded)
		if took := backend.Now().Sub(start); took != time.Second {
			t.Errorf("Lock returned %v after its MaxWait", took-time.Second)
		}
		elapse(time.Second)
		if st, _ := b.Inspect(t.Context(), "x"); st.Held {
			t.Error("the late grant is held")
		}
	})
}

// (nil, err): nothing to withdraw. (g, err): withdrawn at once, then after
// 100 ms, doubling to TTL/3, each attempt bounded, until the backend says nil.
func TestHazard_G6a_Withdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		var grant *backend.Grant
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			if grant != nil {
				grant.Request = req
			}
			return grant, errDriver
		}
		c := newClient(t, b)
		_, err := c.Lock(t.Context(), "x")
		wantIs(t, "Lock", err, errDriver)
		synctest.Wait()
		if n := len(b.of("withdraw")); n != 0 {
			t.Errorf("%d withdrawals of nothing", n)
		}

		grant = &backend.Grant{}
		b.withdraw = func(context.Context, *backend.Grant) error { return unavailable(errDriver) }
		_, err = c.Lock(t.Context(), "x")
		wantIs(t, "Lock", err, errDriver)
		start := backend.Now()
		elapse(20 * time.Second)
		b.set(func() { b.withdraw = nil })
		elapse(testTTL)
		want := []time.Duration{0, 100, 300, 700, 1500, 3100, 6300, 10300, 14300, 18300, 22300} // ms
		calls := b.of("withdraw")
		if len(calls) != len(want) {
			t.Fatalf("%d withdrawals, want %d", len(calls), len(want))
		}
		for i, call := range calls {
			if got := call.at.Sub(start); got != want[i]*time.Millisecond {
				t.Errorf("attempt %d after %v, want %v", i, got, want[i]*time.Millisecond)
			}
		}
	})
}

func TestHazard_G6a_WithdrawIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			return granted(req, time.Time{}), errDriver
		}
		c := newClient(t, b)
		var took time.Duration
		b.withdraw = func(ctx context.Context, _ *backend.Grant) error {
			start := backend.Now()
			err := silent(ctx)
			took = backend.Now().Sub(start)
			b.set(func() { b.withdraw = nil })
			return err
		}
		_, _ = c.Lock(t.Context(), "x")
		elapse(testTTL)
		if took != backend.Linger(testTTL) {
			t.Errorf("a withdrawal was given %v", took)
		}
		if n := len(b.of("withdraw")); n != 2 {
			t.Errorf("%d withdrawals", n)
		}
	})
}

// Many withdrawals do not wait for those of a sick group.
func TestHazard_G6a_SickGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := grouped()
		granting := b.lock
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			g, _ := granting(ctx, req)
			return g, errDriver
		}
		well := make(chan time.Time, 1)
		b.withdraw = func(ctx context.Context, g *backend.Grant) error {
			if g.Group == "sick" {
				return silent(ctx)
			}
			well <- backend.Now()
			return nil
		}
		c := newClient(t, b)
		for range 100 {
			_, _ = c.Lock(t.Context(), "sick")
		}
		start := backend.Now()
		_, _ = c.Lock(t.Context(), "well")
		if waited := (<-well).Sub(start); waited != 0 {
			t.Errorf("waited %v for the withdrawals of another group", waited)
		}
		b.set(func() { b.withdraw = nil })
	})
}

// The store's word that a grant is gone comes before Lock has returned it.
func TestHazard_SPI_Lost_BeforeLockReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		tries := 0
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			g, err := b.Backend.Lock(ctx, req)
			if tries++; tries == 1 {
				req.Lost(errors.New("the session ended"))
			}
			return g, err
		}
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		if err := lease.Err(); err != nil {
			t.Errorf("Lock returned a lost lease: %v", err)
		}
		if locks, withdrawn := b.of("lock"), b.of("withdraw"); len(locks) != 2 || len(withdrawn) != 1 || withdrawn[0].owner != locks[0].owner {
			t.Errorf("%d requests, %d withdrawn, want the first of two", len(locks), len(withdrawn))
		}
	})
}

// It comes during Unlock, after it, and after Close.
func TestHazard_SPI_Lost_Late(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		var lost func(error)
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			lost = req.Lost
			return b.Backend.Lock(ctx, req)
		}
		b.unlock = func(ctx context.Context, g *backend.Grant) error {
			done := make(chan struct{})
			go func() { defer close(done); g.Lost(errDriver) }()
			<-done
			return b.Backend.Unlock(ctx, g)
		}
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		mustUnlock(t, c, lease)
		lost(errDriver)
		wantIs(t, "Err", lease.Err(), locker.ErrUnlocked)
		wantIsNot(t, "Err", lease.Err(), locker.ErrLost)
		closed := mustLock(t, c, "x")
		c.Close()
		lost(errDriver)
		wantIs(t, "Err", closed.Err(), locker.ErrClosed)
	})
}

// A loss that is told ends the Context at once, and keeps the store's reason.
func TestHazard_SPI_Lost_Told(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		if !b.Break("x") {
			t.Fatal("not held")
		}
		if lease.Context().Err() == nil {
			t.Error("the Context lives")
		}
		wantIs(t, "Err", lease.Err(), locker.ErrLost)
		wantIs(t, "Unlock", c.Unlock(t.Context(), lease), locker.ErrLost)
		elapse(2 * testTTL)
		if n := len(b.of("renew")) + len(b.of("unlock")); n != 0 {
			t.Errorf("%d calls for a lease that was lost", n)
		}
	})
}

// A grant that comes later than its own deadline is withdrawn, and locked
// again.
func TestHazard_SPI_late(t *testing.T) {
	for _, left := range []time.Duration{0, backend.Margin(testTTL), backend.Margin(testTTL) + time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := newStub()
			b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
				if len(b.of("lock")) == 1 {
					return granted(req, backend.Now().Add(left)), nil
				}
				return granted(req, backend.Now().Add(testTTL)), nil
			}
			b.renew = renewAll
			c := newClient(t, b)
			lease := mustLock(t, c, "x")
			if err := lease.Err(); err != nil {
				t.Errorf("%v left: Lock returned a lease that had ended: %v", left, err)
			}
			want := 1
			if left > backend.Margin(testTTL) {
				want = 0
			}
			if n := len(b.of("withdraw")); n != want {
				t.Errorf("%v left: %d grants withdrawn, want %d", left, n, want)
			}
		})
	}
}

// A waiter that was queued outlives an outage of its link.
func TestHazard_SPI_wait_Outage(t *testing.T) {
	for name, cut := range map[string]func(*sessionstore.Link){"cut": (*sessionstore.Link).Cut, "refused": (*sessionstore.Link).Refuse} {
		for _, outage := range []time.Duration{testTTL / 4, 10 * testTTL} { // its session dies in the longer
			t.Run(name+outage.String(), func(t *testing.T) {
				simulated(t, func(t *testing.T, s *sessionstore.Store) {
					a, _ := newSession(t, s)
					b, link := newSession(t, s)
					lease := mustLock(t, a, "x")
					waiter := lockAsync(t.Context(), b, "x")
					synctest.Wait()
					cut(link)
					elapse(outage)
					if waiter.ended() {
						t.Fatalf("the waiter ended in the outage: %v", waiter.err)
					}
					link.Hook(nil)
					elapse(testTTL)
					mustUnlock(t, a, lease)
					waiter.mustHold(t)
				})
			})
		}
	}
}

// The store ends the session of a waiter: it waits on, in another.
func TestHazard_SPI_wait_SessionEnded(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		mustLock(t, a, "x")
		waiter := lockAsync(t.Context(), b, "x")
		synctest.Wait()
		s.EndSessions()
		elapse(time.Second)
		waiter.mustHold(t)
	})
}

// The pauses between further tries: 100 ms, doubling to TTL/3.
func TestHazard_SPI_wait_Pauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			req.Queued()
			return nil, unavailable(errDriver)
		}
		c := newClient(t, b)
		_, err := c.Lock(t.Context(), "x", locker.MaxWait(20*time.Second))
		wantIs(t, "Lock", err, context.DeadlineExceeded, locker.ErrLocked, errDriver)
		var pauses []time.Duration
		calls := b.of("lock")
		for i := range calls[1:] {
			pauses = append(pauses, calls[i+1].at.Sub(calls[i].at)/time.Millisecond)
		}
		want := []time.Duration{100, 200, 400, 800, 1600, 3200, 4000, 4000, 4000}
		if len(pauses) != len(want) {
			t.Fatalf("pauses of %v ms", pauses)
		}
		for i := range want {
			if pauses[i] != want[i] {
				t.Fatalf("pauses of %v ms, want %v", pauses, want)
			}
		}
	})
}

// A refusal ends the wait.
func TestHazard_SPI_wait_Refusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		refusal := errors.New("driver: no rights on this key")
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			req.Queued()
			return nil, refusal
		}
		_, err := newClient(t, b).Lock(t.Context(), "x", locker.MaxWait(time.Hour))
		wantIs(t, "Lock", err, refusal)
		wantIsNot(t, "Lock", err, locker.ErrLocked)
		if n := len(b.of("lock")); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// A store that never answers: Lock ends within 15 s, with the driver's error
// if the adapter has one.
func TestHazard_SPI_wait_Silence(t *testing.T) {
	for name, lock := range map[string]func(context.Context) error{
		"ends with its context": func(ctx context.Context) error {
			<-ctx.Done()
			return unavailable(errDriver)
		},
		"lingers": func(ctx context.Context) error {
			ctx, cancel := backend.LingerContext(ctx, testTTL)
			defer cancel()
			<-ctx.Done()
			return unavailable(errDriver)
		},
		"ignores its context": func(context.Context) error {
			timer := time.NewTimer(time.Hour)
			<-timer.C
			return errDriver
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newStub()
				b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
					return granted(req, time.Time{}), lock(ctx)
				}
				c := newClient(t, b)
				start := backend.Now()
				_, err := c.Lock(t.Context(), "x")
				wantIs(t, "Lock", err, backend.ErrUnavailable)
				wantIsNot(t, "Lock", err, locker.ErrLocked)
				if name != "ignores its context" {
					wantIs(t, "Lock", err, errDriver)
				}
				if took := backend.Now().Sub(start); took > 15*time.Second {
					t.Errorf("ended after %v", took)
				}
				elapse(time.Hour)
			})
		})
	}
}

// A waiter that the store has answered is not silent.
func TestHazard_SPI_wait_Long(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, _ := newSession(t, s)
		b, _ := newSession(t, s)
		lease := mustLock(t, a, "x")
		waiter := lockAsync(t.Context(), b, "x")
		elapse(24 * time.Hour)
		mustUnlock(t, a, lease)
		waiter.mustHold(t)
	})
}

// A full grant is renewed with two thirds of its TTL left, no sooner; after a
// failure a sixth of the TTL later.
func TestHazard_SPI_keep_Pace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		start := backend.Now()
		mustLock(t, c, "x")
		elapse(10*testTTL + testTick)
		calls := b.of("renew")
		if n := len(calls); n < 27 || n > 30 {
			t.Errorf("%d renewals in 10 TTLs", n)
		}
		if first := calls[0].at.Sub(start); first < testTTL/3 || first > testTTL/3+testTick {
			t.Errorf("the first renewal after %v, want %v", first, testTTL/3)
		}
		b.set(func() {
			b.renew = func(_ context.Context, grants []*backend.Grant) []backend.Renewal {
				return []backend.Renewal{{Err: unavailable(errDriver)}}
			}
		})
		elapse(2 * testTTL)
		calls = b.of("renew")[len(calls):]
		if len(calls) < 4 {
			t.Errorf("%d attempts at the renewal of a lease that was lost", len(calls))
		}
		for i := range calls[1:] {
			if pause := calls[i+1].at.Sub(calls[i].at); pause < testTTL/6 {
				t.Errorf("an attempt %v after the one before", pause)
			}
		}
	})
}

// A grant that starts with less than two thirds, a claim, is renewed at once,
// beside the return.
func TestHazard_SPI_keep_Claim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			return granted(req, backend.Now().Add(testTTL/3)), nil
		}
		b.renew = renewAll
		c := newClient(t, b)
		for _, name := range []string{"first", "second"} {
			start := backend.Now()
			lease := mustLock(t, c, name)
			elapse(0)
			calls := b.of("renew")
			if len(calls) == 0 || !calls[len(calls)-1].at.Equal(start) {
				t.Fatalf("%s: the claim was not confirmed at once: %v", name, calls)
			}
			if want := start.Add(testTTL - backend.Margin(testTTL)); !lease.Deadline().Equal(want) {
				t.Errorf("%s: deadline %v from what it should be", name, lease.Deadline().Sub(want))
			}
			elapse(time.Second)
		}
	})
}

// A call takes all grants of the group that are due within TTL/6.
func TestHazard_SPI_keep_Batch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		for i := range 10 {
			mustLock(t, c, string(rune('a'+i)))
			elapse(testTTL / 6 / 10)
		}
		elapse(time.Second)
		mustLock(t, c, "later")
		elapse(testTTL/6 - time.Second + testTick)
		calls := b.of("renew")
		if len(calls) != 1 || calls[0].grants != 10 {
			t.Errorf("renewed %v, want one call for the ten that are due within a sixth of a TTL", calls)
		}
	})
}

// Lost never blocks, even if the logger does.
func TestHazard_SPI_Lost_StuckLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		b := newStub()
		var lost func(error)
		b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
			lost = req.Lost
			return b.Backend.Lock(ctx, req)
		}
		c, err := locker.New(b, &locker.Config{TTL: testTTL, Logger: slog.New(stuckHandler{slog.DiscardHandler, free})})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer close(free)
		mustLock(t, c, "x")
		told := make(chan struct{})
		go func() { defer close(told); lost(errDriver) }()
		soon(t, told)
	})
}

// Nor does a store which never answers get 15 s anew with each session that its
// adapter gives up.
func TestHazard_SPI_wait_SilenceAcrossTries(t *testing.T) {
	for name, second := range map[string]func(context.Context) error{
		"silent": silent,
		"loses its session again and again": func(ctx context.Context) error {
			timer := time.NewTimer(8 * time.Second)
			<-timer.C
			return fmt.Errorf("%w: the session was not renewed in time", backend.ErrLost)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newStub()
				b.lock = func(ctx context.Context, _ backend.Request) (*backend.Grant, error) {
					if len(b.of("lock")) == 1 {
						timer := time.NewTimer(8 * time.Second)
						<-timer.C
						return nil, fmt.Errorf("%w: the session was not renewed in time", backend.ErrLost)
					}
					linger, cancel := backend.LingerContext(ctx, testTTL)
					defer cancel()
					return nil, second(linger)
				}
				c := newClient(t, b)
				start := backend.Now()
				a := lockAsync(t.Context(), c, "x")
				soon(t, a.done)
				wantIs(t, "Lock", a.err, backend.ErrUnavailable)
				if took := backend.Now().Sub(start); took > 15*time.Second {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

// A grant that no backend may return is an error of its Lock, and withdrawn.
func TestMalformedGrants(t *testing.T) {
	for name, spoil := range map[string]func(*backend.Grant){
		"group that cannot be compared": func(g *backend.Grant) { g.Group = []string{"node"} },
		"no TTL":                        func(g *backend.Grant) { g.TTL = 0 },
		"no TTL, never expires":         func(g *backend.Grant) { g.TTL, g.Until = 0, time.Time{} },
	} {
		for _, lockErr := range []error{nil, errDriver} {
			t.Run(fmt.Sprint(name, lockErr), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newStub()
					b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
						g := granted(req, backend.Now().Add(testTTL))
						spoil(g)
						return g, lockErr
					}
					renewals := 0
					b.renew = func(ctx context.Context, g []*backend.Grant) []backend.Renewal {
						if renewals++; renewals > 100 {
							panic("the keeper spins")
						}
						return renewAll(ctx, g)
					}
					c := newClient(t, b)
					_, err := c.Lock(t.Context(), "x")
					if err == nil {
						t.Error("Lock returned a lease")
					}
					if lockErr != nil {
						wantIs(t, "Lock", err, lockErr)
					}
					elapse(testTTL)
					if n := len(b.of("withdraw")); n != 1 {
						t.Errorf("%d withdrawals", n)
					}
				})
			})
		}
	}
}
