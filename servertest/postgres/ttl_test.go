// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
	"github.com/golocker/locker/servertest/proxy"
)

// A TTL out of bounds is refused before the server is asked, with the bounds.
func TestTTLOutOfBounds(t *testing.T) {
	t.Parallel()
	server := shared(t)
	network := proxy.Start(t, server.Addr, proxy.Raw)
	for _, ttl := range []time.Duration{time.Second - time.Millisecond, 24*time.Hour + time.Millisecond} {
		want := []string{ttl.String(), "out of range", "from 1s to 24h0m0s"}
		refusal(t, urlOf(network.Addr(), "ttl="+ttl.String()), want...)
		b := newBackend(t, newPool(t, servertest.PostgresURL(network.Addr()), nil), nil)
		_, err := locker.New(b, &locker.Config{TTL: ttl})
		wantText(t, err, want...)
	}
	if n := network.Opened(); n != 0 {
		t.Errorf("the server was asked by %d connections", n)
	}
}

// The least TTL is one that holds, beside other work and for many TTLs, and
// after which the server frees the locks. It is not parallel: a lease of a second
// does not survive the others' load.
func TestLeastTTL(t *testing.T) {
	server := shared(t)
	network := proxy.Start(t, server.Addr, proxy.Raw)
	client := openClient(t, urlOf(network.Addr(), "ttl=1s"))
	waiter := openClient(t, urlOf(server.Addr, "ttl=1s"))
	lease := lockFor(t, 8*time.Second, client, "least")
	next := make(chan *locker.Lease, 1)
	go func() {
		after, err := waiter.Lock(bounded(t), "least")
		if err != nil {
			t.Errorf("the waiter: %v", err)
		} else if lease.Err() == nil {
			t.Error("two holders")
		}
		next <- after
	}()
	network.BlackHole()
	<-lease.Context().Done()
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("the lease ended with %v, want ErrLost", lease.Err())
	}
	after := <-next // by the server alone: the network is not healed
	if err := network.Heal(); err != nil {
		t.Error(err)
	}
	if after == nil {
		return
	}
	if after.Token() <= lease.Token() {
		t.Errorf("the token went from %d to %d", lease.Token(), after.Token())
	}
	if err := waiter.Unlock(bounded(t), after); err != nil {
		t.Error(err)
	}
}

// lockFor returns a lease that has lasted for d, beside others that came and
// went. A machine that stood still meanwhile, as no lease of a second survives,
// is given three tries.
func lockFor(t testing.TB, d time.Duration, client *locker.Client, name string) *locker.Lease {
	t.Helper()
	for range 3 {
		lease, err := client.Lock(bounded(t), name)
		if err != nil {
			t.Fatal(err)
		}
		enough, cancel := context.WithTimeout(lease.Context(), d)
		defer cancel()
		var work sync.WaitGroup
		for i := range 4 {
			work.Go(func() {
				for enough.Err() == nil {
					_ = locker.Do(enough, client, fmt.Sprint(name, i), func(context.Context, *locker.Lease) error { return nil })
				}
			})
		}
		stood := standstill(enough)
		work.Wait()
		if lease.Err() == nil {
			return lease
		}
		if stood < 100*time.Millisecond {
			t.Fatalf("the lease ended within %v, though the machine stood still for %v at most: %v", d, stood, lease.Err())
		}
		t.Logf("the machine stood still for %v: once more", stood)
	}
	t.Fatal("the machine stands still too often to tell")
	return nil
}

// standstill returns for how long the machine stood still at a time, until ctx
// ends.
func standstill(ctx context.Context) (longest time.Duration) {
	const pause = 10 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for last := backend.Now(); ctx.Err() == nil; {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		now := backend.Now()
		longest = max(longest, now.Sub(last)-pause)
		last = now
	}
	return longest
}

// The server itself says that it keeps the greatest TTL, of each session.
func TestGreatestTTL(t *testing.T) {
	t.Parallel()
	const greatest = 24 * time.Hour
	server := shared(t)
	var mu sync.Mutex
	var kept []string
	addr := startTap(t, "tcp", server.Addr, nil, func(msg pgproto3.BackendMessage) {
		row, ok := msg.(*pgproto3.DataRow)
		if ok && len(row.Values) == 2 && string(row.Values[0]) == "idle_session_timeout" {
			mu.Lock()
			kept = append(kept, string(row.Values[1]))
			mu.Unlock()
		}
	})
	b := openURL(t, urlOf(addr, "ttl=24h"))
	req := func(name string) backend.Request {
		r := request(name)
		r.TTL = greatest
		return r
	}
	begin := backend.Now()
	g := lock(t, b, req("greatest"))
	w := queue(t, b, req("greatest"))
	between := backend.Now()
	r := b.Renew(bounded(t), []*backend.Grant{g})[0]
	if r.Err != nil || r.Until.Before(between.Add(greatest)) || g.Until.Before(begin.Add(greatest)) {
		t.Errorf("granted until %v, renewed until %v: %v", g.Until, r.Until, r.Err)
	}
	unlock(t, b, g)
	unlock(t, b, w.Granted(t, backendtest.Patience))
	mu.Lock()
	defer mu.Unlock()
	want := fmt.Sprint(greatest.Milliseconds())
	if len(kept) < 2 || slices.ContainsFunc(kept, func(ms string) bool { return ms != want }) {
		t.Errorf("the server says idle_session_timeout = %v, want %s of two sessions", kept, want)
	}
}
