// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/postgres"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// The calls of a backend, as all adapters' tests make them.
var (
	bounded    = backendtest.Bounded
	lock       = backendtest.Lock
	unlock     = backendtest.Unlock
	queue      = backendtest.Queue
	eventually = backendtest.Eventually
	behind     = backendtest.Behind
)

// ttl is longer than this machine stands still; tests that wait for it to pass
// have one of their own.
const ttl = 20 * time.Second

// tryOpen opens a backend as another process has it.
func tryOpen(ctx context.Context, rawURL string) (*postgres.Backend, error) {
	target, err := backend.ParseTarget(rawURL)
	if err != nil {
		return nil, err
	}
	if target.TTL == 0 {
		target.TTL = ttl
	}
	target.Logger = slog.New(slog.DiscardHandler)
	b, err := backend.Open(ctx, target)
	if err != nil {
		return nil, err
	}
	return b.(*postgres.Backend), nil
}

func openURL(t testing.TB, rawURL string) *postgres.Backend {
	t.Helper()
	ctx := bounded(t)
	b, err := tryOpen(ctx, rawURL)
	for errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil { // a machine that stands still
		b, err = tryOpen(ctx, rawURL)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// openClient opens a client as an application has it.
func openClient(t testing.TB, rawURL string) *locker.Client {
	t.Helper()
	c, err := tryClient(t, rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// tryClient opens a client, however long the machine stands still.
func tryClient(t testing.TB, rawURL string) (c *locker.Client, err error) {
	t.Helper()
	ctx := bounded(t)
	for {
		c, err = locker.Open(ctx, rawURL, &locker.Config{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
		if !errors.Is(err, backend.ErrUnavailable) || ctx.Err() != nil {
			return c, err
		}
	}
}

// A psql is a plain connection of an administrator. It is safe for concurrent use.
type psql struct {
	mu   sync.Mutex
	conn *pgx.Conn
}

func native(t testing.TB, addr string) *psql {
	t.Helper()
	return nativeURL(t, servertest.PostgresURL(addr))
}

func nativeURL(t testing.TB, rawURL string) *psql {
	t.Helper()
	conn, err := pgx.Connect(bounded(t), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &psql{conn: conn}
}

func (p *psql) exec(t testing.TB, statements ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sql := range statements {
		if _, err := p.conn.Exec(bounded(t), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// count returns the one number that a query has.
func (p *psql) count(t testing.TB, sql string) (n int64) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.conn.QueryRow(bounded(t), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// texts returns the one column of a query.
func (p *psql) texts(ctx context.Context, sql string) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := p.conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// unique is the name of a schema or role that no test had before on a shared
// server.
func unique(name string) string { return name + "_" + strings.ToLower(rand.Text()[:8]) }

func request(name string) backend.Request {
	return backend.Request{Name: name, Owner: rand.Text(), TTL: ttl}
}

func noWait(name string) backend.Request {
	r := request(name)
	r.NoWait = true
	return r
}

// pings says whether something answers at a URL.
func pings(t testing.TB, rawURL string) bool {
	t.Helper()
	conn, err := pgx.Connect(bounded(t), rawURL+"&default_query_exec_mode=simple_protocol")
	if err != nil {
		return false
	}
	defer conn.Close(context.Background())
	return conn.Ping(bounded(t)) == nil
}
