// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
	"github.com/golocker/locker/memory"
)

// Unlock and Close end the Context before anything is sent.
func TestHazard_G2c_ContextEndsFirst(t *testing.T) {
	for name, end := range map[string]func(*locker.Client, *locker.Lease) error{
		"Unlock": func(c *locker.Client, l *locker.Lease) error { return c.Unlock(context.Background(), l) },
		"Close":  func(c *locker.Client, _ *locker.Lease) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lease *locker.Lease
				var sent int
				b := newStub()
				look := func(context.Context, *backend.Grant) error {
					sent++
					if lease.Context().Err() == nil {
						t.Error("the Context still lives when the store is asked")
					}
					return nil
				}
				b.unlock, b.withdraw = look, look
				c := newClient(t, b)
				lease = mustLock(t, c, "x")
				if err := end(c, lease); err != nil {
					t.Fatal(err)
				}
				if sent == 0 {
					t.Error("nothing was sent")
				}
			})
		})
	}
}

// grouped is a stub whose locks belong to the group that their name begins
// with, up to the first space.
func grouped() *stub {
	b := newStub()
	b.lock = func(ctx context.Context, req backend.Request) (*backend.Grant, error) {
		g := granted(req, backend.Now().Add(req.TTL))
		g.Group, _, _ = strings.Cut(req.Name, " ")
		return g, nil
	}
	return b
}

// One sick session starves no other, and has one renewal in flight, bounded.
func TestHazard_G2d_SickGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := grouped()
		var inFlight atomic.Int32
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			results := make([]backend.Renewal, len(grants))
			if grants[0].Group == "well" {
				return results
			}
			if n := inFlight.Add(1); n > 1 {
				t.Errorf("%d renewals of one group in flight", n)
			}
			defer inFlight.Add(-1)
			start := backend.Now()
			left := grants[0].Until.Sub(start) // it never is renewed
			err := silent(ctx)
			longest := min(max(testTTL/6, 500*time.Millisecond), 5*time.Second, left/2)
			if took := backend.Now().Sub(start); took > longest {
				t.Errorf("an attempt with %v left took %v, longer than %v", left, took, longest)
			}
			for i := range results {
				results[i].Err = err
			}
			return results
		}
		c := newClient(t, b)
		sick, well := mustLock(t, c, "sick 1"), mustLock(t, c, "well 1")
		elapse(time.Second)
		mustLock(t, c, "sick 2")
		elapse(3 * testTTL)
		wantIs(t, "sick", sick.Err(), locker.ErrLost, backend.ErrUnavailable)
		if err := well.Err(); err != nil {
			t.Errorf("well: %v", err)
		}
		attempts := 0
		for _, call := range b.of("renew") {
			if call.at.Before(sick.Deadline()) {
				attempts++
			}
		}
		if attempts < 6 { // those of well, 2, and of sick, 4
			t.Errorf("%d renewals before the deadline", attempts)
		}
	})
}

// A renewal that does not even return when its context ends holds up its own
// group alone, and has no second one beside it.
func TestHazard_G2d_StuckGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := grouped()
		free := make(chan struct{})
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			if grants[0].Group == "stuck" {
				<-free
			}
			return renewAll(ctx, grants)
		}
		c := newClient(t, b)
		defer close(free)
		stuck, well := mustLock(t, c, "stuck 1"), mustLock(t, c, "well 1")
		elapse(testTTL / 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantIs(t, "Renew", c.Renew(ctx, stuck), context.DeadlineExceeded)
		deadline := stuck.Deadline()
		if at := soon(t, lostAt(stuck)); !at.Equal(deadline) {
			t.Errorf("lost %v after the deadline", at.Sub(deadline))
		}
		mustLock(t, c, "stuck 2")
		elapse(3 * testTTL)
		if err := well.Err(); err != nil {
			t.Errorf("well: %v", err)
		}
		calls := 0
		for _, call := range b.of("renew") {
			if call.owner == b.of("lock")[0].owner || call.owner == b.of("lock")[2].owner {
				calls++
			}
		}
		if calls != 1 {
			t.Errorf("%d renewals of one group in flight", calls)
		}
	})
}

// Results only move a deadline forwards, and only of a lease that is held.
func TestHazard_G2d_Forwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		early := backend.Now().Add(testTTL / 2)
		b.renew = func(_ context.Context, grants []*backend.Grant) []backend.Renewal {
			return []backend.Renewal{{Until: early}}
		}
		lease := mustLock(t, newClient(t, b), "x")
		before := lease.Deadline()
		elapse(testTTL / 2)
		if len(b.of("renew")) == 0 {
			t.Fatal("not renewed")
		}
		if d := lease.Deadline(); d.Before(before) {
			t.Errorf("the deadline went back by %v", before.Sub(d))
		}
	})
}

// An answer that comes after the deadline brings nothing back, though the store
// renewed; and the deadline holds while the renewal hangs past its context.
func TestHazard_G2d_LateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			timer := time.NewTimer(testTTL)
			<-timer.C
			return []backend.Renewal{{Until: backend.Now().Add(testTTL)}}
		}
		lease := mustLock(t, newClient(t, b), "x")
		deadline, lost := lease.Deadline(), lostAt(lease)
		if at := soon(t, lost); at.After(deadline.Add(testTick)) {
			t.Errorf("lost %v after the deadline", at.Sub(deadline))
		}
		elapse(testTTL)
		wantIs(t, "Err", lease.Err(), locker.ErrLost)
		if d := lease.Deadline(); d.After(deadline) {
			t.Error("the answer moved the deadline of a lost lease")
		}
	})
}

// The deadline is Until less the margin.
func TestHazard_G2e_Margin(t *testing.T) {
	for ttl, margin := range map[time.Duration]time.Duration{
		200 * time.Millisecond: 50 * time.Millisecond,
		2 * time.Second:        250 * time.Millisecond,
		30 * time.Second:       1500 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newStub()
			b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
				return []backend.Renewal{{Err: silent(ctx)}}
			}
			c, err := locker.New(b, &locker.Config{TTL: ttl, Logger: quiet.Logger})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := backend.Now()
			lease := mustLock(t, c, "x")
			lost := soon(t, lostAt(lease))
			if got := lost.Sub(start); got != ttl-margin {
				t.Errorf("TTL %v: lost after %v, want %v before the TTL", ttl, got, margin)
			}
		})
	}
}

// It holds for a grant whose effective TTL is shorter than the keeper's tick.
func TestHazard_G2e_ShortGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		const ttl = testTick / 2
		b.lock = func(_ context.Context, req backend.Request) (*backend.Grant, error) {
			if req.Name == "short" {
				req.TTL = ttl
			}
			return granted(req, backend.Now().Add(req.TTL)), nil
		}
		c := newClient(t, b)
		mustLock(t, c, "other")
		elapse(testTick)
		start := backend.Now()
		lost := soon(t, lostAt(mustLock(t, c, "short", locker.NoRenew())))
		if got := lost.Sub(start); got != ttl-backend.Margin(ttl) {
			t.Errorf("lost after %v of %v", got, ttl)
		}
	})
}

// A logger that blocks, as on a full pipe, keeps no Context alive.
func TestHazard_G2e_StuckLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			return []backend.Renewal{{Err: silent(ctx)}}
		}
		stuck := make(chan struct{})
		c, err := locker.New(b, &locker.Config{TTL: testTTL, Logger: slog.New(stuckHandler{slog.DiscardHandler, stuck})})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		defer close(stuck)
		mustLock(t, c, "first")
		elapse(time.Second)
		lease := mustLock(t, c, "x")
		elapse(lease.Deadline().Sub(backend.Now()) + testTick)
		if lease.Context().Err() == nil {
			t.Error("the Context outlives its deadline")
		}
	})
}

// A stuckHandler blocks on every record.
type stuckHandler struct {
	slog.Handler
	stuck <-chan struct{}
}

func (h stuckHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h stuckHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h stuckHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		<-h.stuck
	}
	return nil
}

// A NoRenew lease ends a TTL after its acquisition, in a session that lives on,
// and is withdrawn.
func TestHazard_G8a_NoRenew(t *testing.T) {
	simulated(t, func(t *testing.T, s *sessionstore.Store) {
		a, link := newSession(t, s)
		b, _ := newSession(t, s)
		other := mustLock(t, a, "other")
		elapse(testTTL/3 - 10*time.Millisecond) // the grant starts with two thirds of a TTL
		start := backend.Now()
		lease := mustLock(t, a, "x", locker.NoRenew())
		waiter := lockAsync(t.Context(), b, "x")
		lost := soon(t, lostAt(lease))
		if held := lost.Sub(start); held < testTTL-testTick || held > testTTL {
			t.Errorf("held for %v, want %v", held, testTTL)
		}
		wantIs(t, "Err", lease.Err(), locker.ErrLost)
		waiter.mustHold(t)

		requests := link.Requests(sessionstore.RenewSession)
		wantIs(t, "Renew", a.Renew(t.Context(), lease), locker.ErrLost)
		if n := link.Requests(sessionstore.RenewSession) - requests; n != 0 {
			t.Errorf("Renew of an ended lease made %d requests", n)
		}
		elapse(5 * testTTL)
		if err := other.Err(); err != nil {
			t.Errorf("the other lease: %v", err)
		}
	})
}

// Each Renew by the user gives a NoRenew lease another TTL.
func TestHazard_G8a_RenewedByTheUser(t *testing.T) {
	for name, b := range map[string]func() backend.Backend{
		"memory":       func() backend.Backend { return memory.New() },
		"sessionstore": func() backend.Backend { return sessionstore.NewStore().NewBackend() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClient(t, b())
				lease := mustLock(t, c, "x", locker.NoRenew())
				for range 5 {
					elapse(testTTL * 3 / 4)
					if err := c.Renew(t.Context(), lease); err != nil {
						t.Fatal(err)
					}
				}
				last := backend.Now()
				if held := soon(t, lostAt(lease)).Sub(last); held < testTTL-backend.Margin(testTTL) || held > testTTL {
					t.Errorf("held for %v after the last Renew", held)
				}
			})
		})
	}
}

// Renew makes an exchange that begins after the call, even while one is under
// way.
func TestHazard_G8a_RenewIsFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		var starts []time.Time
		b.renew = func(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
			starts = append(starts, backend.Now())
			timer := time.NewTimer(time.Second)
			<-timer.C
			return b.Backend.Renew(ctx, grants)
		}
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		first := make(chan error, 1)
		go func() { first <- c.Renew(t.Context(), lease) }()
		elapse(time.Second / 2)
		asked := backend.Now()
		if err := c.Renew(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(starts, func(at time.Time) bool { return !at.Before(asked) }) {
			t.Error("Renew was answered by an exchange that had begun before it")
		}
	})
}

// Renew's error is the driver's where the store does not answer, and the lease
// goes on.
func TestHazard_G8a_RenewUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		b.renew = func(context.Context, []*backend.Grant) []backend.Renewal {
			return []backend.Renewal{{Err: unavailable(errDriver)}}
		}
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		err := c.Renew(t.Context(), lease)
		wantIs(t, "Renew", err, errDriver, backend.ErrUnavailable)
		wantIsNot(t, "Renew", err, locker.ErrLost)
		if lease.Err() != nil {
			t.Error(lease.Err())
		}
		why := errors.New("enough")
		b.set(func() {
			b.renew = func(ctx context.Context, _ []*backend.Grant) []backend.Renewal {
				return []backend.Renewal{{Err: silent(ctx)}}
			}
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second/10, func() { cancel(why) })
		wantIs(t, "cancelled Renew", c.Renew(ctx, lease), context.Canceled, why)
	})
}
