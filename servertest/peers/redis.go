// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker"
)

// redsyncs is github.com/go-redsync/redsync on one server.
type redsyncs struct {
	*redis.Client
	locks *redsync.Redsync
	ttl   time.Duration
}

func openRedsync(_ context.Context, addr string, ttl time.Duration) (library, error) {
	c := redis.NewClient(&redis.Options{Addr: addr})
	return &redsyncs{c, redsync.New(goredis.NewPool(c)), ttl}, nil
}

func (r *redsyncs) lock(ctx context.Context, name string, try bool) (*held, error) {
	m := r.locks.NewMutex(name, redsync.WithExpiry(r.ttl))
	take := m.LockContext
	if try {
		take = m.TryLockContext
	}
	var taken *redsync.ErrTaken
	for {
		err := take(ctx)
		if err == nil {
			break
		}
		switch busy := errors.As(err, &taken) || errors.Is(err, redsync.ErrFailed); {
		case !busy || ctx.Err() != nil:
			return nil, err
		case try:
			return nil, locker.ErrLocked
		}
	}
	var until atomic.Pointer[time.Time]
	first := m.Until()
	until.Store(&first)
	return &held{
		until: func() time.Time { return *until.Load() },
		renew: func(ctx context.Context) error {
			ok, err := m.ExtendContext(ctx)
			if ok {
				next := m.Until()
				until.Store(&next)
			}
			if errors.As(err, &taken) {
				return locker.ErrLost
			}
			return err
		},
		unlock: func(ctx context.Context) error {
			_, err := m.UnlockContext(ctx)
			if errors.As(err, &taken) || errors.Is(err, redsync.ErrLockAlreadyExpired) {
				return locker.ErrLost
			}
			return err
		},
	}, nil
}

// redislocks is github.com/bsm/redislock.
type redislocks struct {
	*redis.Client
	locks *redislock.Client
	ttl   time.Duration
}

func openRedislock(_ context.Context, addr string, ttl time.Duration) (library, error) {
	c := redis.NewClient(&redis.Options{Addr: addr})
	return &redislocks{c, redislock.New(c), ttl}, nil
}

// lock takes the answer of Obtain and of Refresh as the beginning of a TTL: the
// library tells no other.
func (r *redislocks) lock(ctx context.Context, name string, try bool) (*held, error) {
	retry := redislock.LinearBackoff(50 * time.Millisecond)
	if try {
		retry = redislock.NoRetry()
	}
	if _, bounded := ctx.Deadline(); !bounded { // else it gives up after a TTL
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Hour)
		defer cancel()
	}
	l, err := r.locks.Obtain(ctx, name, r.ttl, &redislock.Options{RetryStrategy: retry})
	if err != nil {
		if try && errors.Is(err, redislock.ErrNotObtained) {
			return nil, locker.ErrLocked
		}
		return nil, err
	}
	var until atomic.Int64
	begin := time.Now()
	until.Store(int64(r.ttl))
	return &held{
		until: func() time.Time { return begin.Add(time.Duration(until.Load())) },
		renew: func(ctx context.Context) error {
			err := l.Refresh(ctx, r.ttl, nil)
			if err == nil {
				until.Store(int64(time.Since(begin) + r.ttl))
			}
			if errors.Is(err, redislock.ErrNotObtained) {
				return locker.ErrLost
			}
			return err
		},
		unlock: func(ctx context.Context) error {
			err := l.Release(ctx)
			if errors.Is(err, redislock.ErrLockNotHeld) {
				return locker.ErrLost
			}
			return err
		},
	}, nil
}
