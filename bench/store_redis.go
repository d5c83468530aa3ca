// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	_ "github.com/golocker/locker/redis" // the scheme
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// Redis is one Redis server.
var Redis = Store{
	Name: "redis", Spec: servertest.Redis(), Protocol: proxy.RESP, Version: []string{"redis-server", "--version"},
	TTL: 4 * time.Second,
	URL: func(addr string) string { return "redis://" + addr },
	Limit: Limit{
		Pair: "two PING",
		OpenPair: func(_ context.Context, addr string) (func(context.Context) error, func(), error) {
			c := redisClient(addr)
			return func(ctx context.Context) error {
				return errors.Join(c.Ping(ctx).Err(), c.Ping(ctx).Err())
			}, func() { _ = c.Close() }, nil
		},
		Push:     "PUBLISH until a subscriber has it",
		OpenPush: redisPush,
	},
	Peers: []Contestant{
		{
			Name: "redsync", Module: "github.com/go-redsync/redsync/v4", Holds: 10_000,
			Lacks: "fencing tokens; renewal; a queue: who waits asks every 50 to 250 ms",
			Open: func(_ context.Context, addr string, ttl time.Duration) (Client, error) {
				c := redisClient(addr)
				return &redsyncClient{c, redsync.New(goredis.NewPool(c)), ttl}, nil
			},
		},
		{
			Name: "redislock", Module: "github.com/bsm/redislock", Holds: 10_000,
			Lacks: "fencing tokens; renewal; a queue: who waits asks every 100 ms, as in its documentation",
			Open: func(_ context.Context, addr string, ttl time.Duration) (Client, error) {
				c := redisClient(addr)
				return &redislockClient{c, redislock.New(c), ttl}, nil
			},
		},
	},
}

func redisClient(addr string) *redis.Client { return redis.NewClient(&redis.Options{Addr: addr}) }

func redisPush(ctx context.Context, addr string) (func(context.Context) (time.Duration, error), func(), error) {
	c := redisClient(addr)
	subscription := c.Subscribe(ctx, "push")
	done := func() {
		_ = subscription.Close()
		_ = c.Close()
	}
	if _, err := subscription.Receive(ctx); err != nil {
		done()
		return nil, nil, err
	}
	return func(ctx context.Context) (time.Duration, error) {
		return pushed(func() error {
			_, err := subscription.ReceiveMessage(ctx)
			return err
		}, func() error { return c.Publish(ctx, "push", "x").Err() })
	}, done, nil
}

type redsyncClient struct {
	*redis.Client
	sync *redsync.Redsync
	ttl  time.Duration
}

func (c *redsyncClient) Lock(ctx context.Context, name string) (func() error, error) {
	for {
		m := c.sync.NewMutex(name, redsync.WithExpiry(c.ttl))
		err := m.LockContext(ctx)
		var taken *redsync.ErrTaken
		switch {
		case err == nil:
			return func() error { _, err := m.Unlock(); return err }, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.As(err, &taken) && !errors.Is(err, redsync.ErrFailed): // it gives up after 32 tries
			return nil, err
		}
	}
}

type redislockClient struct {
	*redis.Client
	locks *redislock.Client
	ttl   time.Duration
}

func (c *redislockClient) Lock(ctx context.Context, name string) (func() error, error) {
	// Without a deadline of its own it gives up after the TTL.
	for {
		l, err := c.locks.Obtain(ctx, name, c.ttl, &redislock.Options{RetryStrategy: redislock.LinearBackoff(100 * time.Millisecond)})
		switch {
		case err == nil:
			return func() error { return l.Release(context.Background()) }, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !errors.Is(err, redislock.ErrNotObtained) && !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
	}
}
