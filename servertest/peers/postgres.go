// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest"
)

// advisory is a plain pg_advisory_lock: on one connection for all locks of a
// process, or on one for each.
type advisory struct {
	url string

	mu     sync.Mutex
	shared *pgx.Conn // nil: one for each
}

func openPostgresConns(_ context.Context, addr string, _ time.Duration) (library, error) {
	return &advisory{url: servertest.PostgresURL(addr)}, nil
}

func openPostgresConn(ctx context.Context, addr string, _ time.Duration) (library, error) {
	a := &advisory{url: servertest.PostgresURL(addr)}
	conn, err := pgx.Connect(ctx, a.url)
	a.shared = conn
	return a, err
}

func (a *advisory) lock(ctx context.Context, name string, try bool) (*held, error) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	key := int64(h.Sum64())
	if a.shared != nil {
		// A call that waited would keep the connection from the unlock.
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			a.mu.Lock()
			err := tryAdvisory(a.shared, key)
			a.mu.Unlock()
			if err == nil || try || !errors.Is(err, locker.ErrLocked) {
				return &held{unlock: func(context.Context) error {
					a.mu.Lock()
					defer a.mu.Unlock()
					return unlockAdvisory(a.shared, key)
				}}, err
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-tick.C:
			}
		}
	}
	conn, err := pgx.Connect(ctx, a.url)
	if err != nil {
		return nil, err
	}
	if try {
		err = tryAdvisory(conn, key)
	} else {
		_, err = conn.Exec(ctx, "SELECT pg_advisory_lock($1)", key)
	}
	if err != nil {
		_ = conn.Close(context.Background())
		return nil, err
	}
	return &held{unlock: func(ctx context.Context) error {
		return errors.Join(unlockAdvisory(conn, key), conn.Close(ctx))
	}}, nil
}

func tryAdvisory(conn *pgx.Conn, key int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var ok bool
	err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", key).Scan(&ok)
	if err == nil && !ok {
		err = locker.ErrLocked
	}
	return err
}

func unlockAdvisory(conn *pgx.Conn, key int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var ok bool
	err := conn.QueryRow(ctx, "SELECT pg_advisory_unlock($1)", key).Scan(&ok)
	if err == nil && !ok {
		err = locker.ErrLost
	}
	return err
}

func (a *advisory) Close() error {
	if a.shared == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return a.shared.Close(ctx)
}
