// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	_ "github.com/golocker/locker/postgres" // the scheme
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// Postgres is one Postgres server.
var Postgres = Store{
	Name: "postgres", Spec: servertest.Postgres("max_connections=400", "max_locks_per_transaction=256"),
	Protocol: proxy.Postgres, Version: []string{"psql", "--version"},
	TTL: 4 * time.Second,
	URL: servertest.PostgresURL,
	Limit: Limit{
		Pair: "two SELECT 1",
		OpenPair: func(ctx context.Context, addr string) (func(context.Context) error, func(), error) {
			c, err := pgx.Connect(ctx, servertest.PostgresURL(addr))
			if err != nil {
				return nil, nil, err
			}
			one := func(ctx context.Context) error { _, err := c.Exec(ctx, "SELECT 1"); return err }
			return func(ctx context.Context) error { return errors.Join(one(ctx), one(ctx)) }, func() { _ = c.Close(ctx) }, nil
		},
		Push:     "pg_advisory_unlock until a blocked pg_advisory_lock returns, on two plain connections",
		OpenPush: postgresPush,
	},
	Peers: []Contestant{{
		Name: "pg_advisory_lock", Module: "github.com/jackc/pgx/v5", Holds: 100,
		Lacks: "fencing tokens; a TTL; one connection for many locks: each holds one of the pool, and so does each waiter",
		Open: func(ctx context.Context, addr string, _ time.Duration) (Client, error) {
			cfg, err := pgxpool.ParseConfig(servertest.PostgresURL(addr))
			if err != nil {
				return nil, err
			}
			cfg.MaxConns = 120
			pool, err := pgxpool.NewWithConfig(ctx, cfg)
			if err != nil {
				return nil, err
			}
			return advisory{pool}, nil
		},
	}},
}

func postgresPush(ctx context.Context, addr string) (func(context.Context) (time.Duration, error), func(), error) {
	var conns [2]*pgx.Conn
	done := func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close(context.Background())
			}
		}
	}
	for i := range conns {
		var err error
		if conns[i], err = pgx.Connect(ctx, servertest.PostgresURL(addr)); err != nil {
			done()
			return nil, nil, err
		}
	}
	do := func(ctx context.Context, c *pgx.Conn, statement string) error {
		_, err := c.Exec(ctx, statement)
		return err
	}
	if err := do(ctx, conns[0], "SELECT pg_advisory_lock(1)"); err != nil {
		done()
		return nil, nil, err
	}
	return func(ctx context.Context) (time.Duration, error) {
		took, err := pushed(
			func() error { return do(ctx, conns[1], "SELECT pg_advisory_lock(1)") },
			func() error { return do(ctx, conns[0], "SELECT pg_advisory_unlock(1)") })
		conns[0], conns[1] = conns[1], conns[0]
		return took, err
	}, done, nil
}

type advisory struct{ *pgxpool.Pool }

func (a advisory) Close() error { a.Pool.Close(); return nil }

func (a advisory) Lock(ctx context.Context, name string) (func() error, error) {
	conn, err := a.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtextextended($1, 0))", name); err != nil {
		conn.Release()
		return nil, err
	}
	return func() error {
		defer conn.Release()
		_, err := conn.Exec(context.Background(), "SELECT pg_advisory_unlock(hashtextextended($1, 0))", name)
		return err
	}, nil
}
