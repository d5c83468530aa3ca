// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"

	"github.com/golocker/locker/backend"
)

// What redsync or redislock holds, we do not get, and the other way round.
func TestPeers(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr), raw(t, s)
	ctx := bounded(t)

	for name, take := range map[string]func() (release func() error, err error){
		"redsync": func() (func() error, error) {
			m := redsync.New(goredis.NewPool(c)).NewMutex("n", redsync.WithTries(1), redsync.WithExpiry(30*time.Second))
			return func() error { _, err := m.UnlockContext(ctx); return err }, m.LockContext(ctx)
		},
		"redislock": func() (func() error, error) {
			l, err := redislock.Obtain(ctx, c, "n", 30*time.Second, nil)
			return func() error { return l.Release(ctx) }, err
		},
		"SET NX PX": func() (func() error, error) {
			ok, err := c.SetNX(ctx, "n", "x", 30*time.Second).Result()
			if err == nil && !ok {
				err = errors.New("taken")
			}
			return func() error { return c.Del(ctx, "n").Err() }, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			release, err := take()
			if err != nil {
				t.Fatal(err)
			}
			if g, err := b.Lock(ctx, noWait()); !errors.Is(err, backend.ErrLocked) {
				t.Fatalf("beside %s: %v, %v", name, g, err)
			}
			if st, err := state(b, "n"); err != nil || !st.Held || st.Token != 0 || st.Note != "" {
				t.Errorf("%+v, %v", st, err)
			}
			w := queue(t, b, request("n"))
			if err := release(); err != nil {
				t.Fatal(err)
			}
			g := w.Granted(t, 5*time.Second)
			if _, err := take(); err == nil {
				t.Fatalf("%s got what we hold", name)
			}
			unlock(t, b, g)
			release, err = take()
			if err != nil {
				t.Fatalf("%s after us: %v", name, err)
			}
			if err := release(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
