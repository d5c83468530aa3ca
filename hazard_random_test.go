// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
)

// Three clients contend for two names over links that lose, refuse, delay and
// cut at random. Never are two leases of a name alive, tokens grow, and when
// the links have healed nothing is left.
func TestHazard_G1_G3_G6_RandomFaults(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			simulated(t, func(t *testing.T, s *sessionstore.Store) {
				r := &dice{rand: rand.New(rand.NewPCG(seed, seed))}
				if seed%2 == 1 {
					s.ExpireAfter = func(ttl time.Duration) time.Duration { return 2 * ttl }
				}
				w := &witness{t: t, last: map[string]*locker.Lease{}}
				stop, cancel := context.WithCancel(t.Context())
				var workers sync.WaitGroup
				var clients []*locker.Client
				var links []*sessionstore.Link
				for range 3 {
					c, link := newSession(t, s)
					link.Hook(r.fate)
					clients, links = append(clients, c), append(links, link)
					for _, name := range []string{"x", "y", "x"} {
						workers.Go(func() { work(stop, r, w, c, name) })
					}
				}
				for range 20 {
					elapse(r.upTo(testTTL))
					link := links[r.n(len(links))]
					link.Cut()
					elapse(r.upTo(testTTL * 3 / 2))
					link.Hook(r.fate)
				}
				if seed%4 < 2 { // some are closed in the midst of it
					for _, c := range clients {
						start := backend.Now()
						c.Close()
						if took := backend.Now().Sub(start); took > 10*time.Second {
							t.Errorf("Close took %v", took)
						}
					}
				}
				for _, link := range links {
					link.Hook(nil)
				}
				cancel()
				workers.Wait()
				elapse(4 * testTTL)
				for _, name := range []string{"x", "y"} {
					if st := s.State(name); st.Held {
						t.Errorf("%s is held with nobody there: %+v", name, st)
					}
				}
				if w.grants < 20 {
					t.Errorf("only %d grants: the test is wrong", w.grants)
				}
			})
		})
	}
}

// work locks and unlocks, as users do, until stop ends.
func work(stop context.Context, r *dice, w *witness, c *locker.Client, name string) {
	for stop.Err() == nil {
		opts := [][]locker.Option{nil, {locker.NoWait()}, {locker.MaxWait(r.upTo(testTTL))}, {locker.NoRenew()}}[r.n(4)]
		ctx, cancel := context.WithTimeout(stop, r.upTo(3*testTTL))
		lease, err := c.Lock(ctx, name, opts...)
		cancel()
		if err != nil {
			wait(stop, r.upTo(time.Second))
			continue
		}
		w.granted(lease)
		wait(stop, r.upTo(testTTL))
		if r.n(3) == 0 {
			ctx, cancel := context.WithTimeout(stop, r.upTo(time.Second))
			_ = c.Renew(ctx, lease)
			cancel()
			wait(stop, r.upTo(testTTL))
		}
		_ = c.Unlock(stop, lease)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// A witness sees every grant.
type witness struct {
	t      *testing.T
	mu     sync.Mutex
	last   map[string]*locker.Lease
	grants int
}

func (w *witness) granted(lease *locker.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.grants++
	last := w.last[lease.Name()]
	if last != nil && lease.Err() == nil && last.Err() == nil && last.Context().Err() == nil {
		w.t.Errorf("two leases of %s: tokens %d and %d, deadlines in %v and %v", lease.Name(),
			last.Token(), lease.Token(), last.Deadline().Sub(backend.Now()), lease.Deadline().Sub(backend.Now()))
	}
	if last == nil || lease.Token() > last.Token() {
		w.last[lease.Name()] = lease
	} else if lease.Err() == nil {
		w.t.Errorf("token %d after %d", lease.Token(), last.Token())
	}
}

// dice are random numbers for many goroutines.
type dice struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

func (d *dice) upTo(most time.Duration) time.Duration {
	return time.Duration(d.n(int(most/time.Millisecond))+1) * time.Millisecond
}

func (d *dice) fate(sessionstore.Message) sessionstore.Fate {
	switch d.n(20) {
	case 0:
		return sessionstore.Fate{Lose: true}
	case 1:
		return sessionstore.Fate{Refuse: errDriver}
	case 2:
		return sessionstore.Fate{Delay: d.upTo(2 * testTTL)}
	case 3, 4:
		return sessionstore.Fate{Delay: d.upTo(time.Second / 10)}
	default:
		return sessionstore.Fate{}
	}
}
