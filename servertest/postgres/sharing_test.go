// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/postgres"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

func newPool(t testing.TB, rawURL string, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(cfg)
	}
	pool, err := pgxpool.NewWithConfig(bounded(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func newBackend(t testing.TB, pool *pgxpool.Pool, cfg *postgres.Config) *postgres.Backend {
	t.Helper()
	b, err := postgres.New(pool, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// With a key of its own a name excludes whoever locks that key by hand, and is
// excluded by it.
func TestSharesKeysWithPlainSQL(t *testing.T) {
	t.Parallel()
	server := shared(t)
	other := native(t, server.Addr)
	b := newBackend(t, newPool(t, servertest.PostgresURL(server.Addr), nil), &postgres.Config{Key: func(name string) int64 {
		return map[string]int64{"migration": 42, "negative": -1 << 40}[name]
	}})
	for name, key := range map[string]int64{"migration": 42, "negative": -1 << 40} {
		other.exec(t, fmt.Sprintf("SELECT pg_advisory_lock(%d)", key))
		if _, err := b.Lock(bounded(t), noWait(name)); !errors.Is(err, backend.ErrLocked) {
			t.Fatalf("%s: NoWait while another holds the key: %v, want ErrLocked", name, err)
		}
		w := queue(t, b, request(name))
		state, err := b.Inspect(bounded(t), name)
		if err != nil || !state.Held || state.Waiters != 1 {
			t.Errorf("%s: Inspect says %+v, %v", name, state, err)
		}
		other.exec(t, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", key))
		g := w.Granted(t, backendtest.Patience)
		if n := other.count(t, fmt.Sprintf("SELECT pg_try_advisory_lock(%d)::int", key)); n != 0 {
			t.Fatalf("%s: plain SQL got a key that we hold", name)
		}
		unlock(t, b, g)
		if n := other.count(t, fmt.Sprintf("SELECT pg_try_advisory_lock(%d)::int", key)); n != 1 {
			t.Fatalf("%s: plain SQL did not get a key that we released", name)
		}
		other.exec(t, fmt.Sprintf("SELECT pg_advisory_unlock(%d)", key))
	}
}

// The application's pool is asked how to connect, and for nothing else.
func TestNewLeavesThePoolAlone(t *testing.T) {
	t.Parallel()
	server := shared(t)
	var connects atomic.Int32
	pool := newPool(t, "postgres://postgres:wrong@"+server.Addr+"/postgres?sslmode=disable", func(cfg *pgxpool.Config) {
		cfg.MaxConns = 1
		cfg.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
			connects.Add(1)
			c.Password = "secret"
			return nil
		}
	})
	taken, err := pool.Acquire(bounded(t)) // all of it
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Release()
	before := connects.Load()
	a := newBackend(t, pool, nil)
	if state, err := a.Inspect(bounded(t), "pool"); err != nil || state.Held {
		t.Errorf("Inspect before the first Lock: %+v, %v", state, err)
	}
	g := lock(t, a, request("pool"))
	w := queue(t, a, request("pool"))
	unlock(t, a, g)
	unlock(t, a, w.Granted(t, backendtest.Patience))
	if n := connects.Load() - before; n != 3 { // Inspect, the shared session, the one that waits
		t.Errorf("BeforeConnect was called %d times, want 3", n)
	}
	if s := pool.Stat(); s.TotalConns() != 1 {
		t.Errorf("the pool has %d connections, want the application's own", s.TotalConns())
	}
	if _, err := a.Lock(bounded(t), backend.Request{Name: "other", Owner: "x", TTL: time.Minute}); err == nil {
		t.Error("a request with another TTL is accepted")
	}
}

// After a loss the client heals: the next Lock works on a new session.
func TestHealsAfterTheServerEndsTheSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	client := openClient(t, urlOf(server.Addr, "ttl=1m"))
	for range 5 {
		lease, err := client.Lock(bounded(t), "heals")
		if err != nil {
			t.Fatal(err)
		}
		admin.count(t, fmt.Sprintf("SELECT pg_terminate_backend(%d)::int", admin.pidOf(t, "heals", true)))
		select {
		case <-lease.Context().Done():
		case <-time.After(10 * time.Second): // a sixth of the TTL
			t.Fatal("the end of the session was not told at once")
		}
		if !errors.Is(lease.Err(), locker.ErrLost) {
			t.Fatalf("Err is %v, want ErrLost", lease.Err())
		}
	}
}
