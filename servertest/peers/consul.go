// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
)

// consulLocks is api.Lock of Consul's client.
type consulLocks struct {
	client *api.Client
	ttl    time.Duration
}

func openConsul(_ context.Context, addr string, ttl time.Duration) (library, error) {
	client, err := api.NewClient(&api.Config{Address: addr})
	if err != nil {
		return nil, err
	}
	return &consulLocks{client, ttl}, nil
}

func (c *consulLocks) lock(ctx context.Context, name string, try bool) (*held, error) {
	// The default delay, 15 s after a session's end, would only make runs long.
	opts := &api.LockOptions{Key: "peers/" + name, SessionTTL: c.ttl.String(), LockDelay: time.Second}
	if try {
		opts.LockTryOnce, opts.LockWaitTime = true, 100*time.Millisecond
	}
	l, err := c.client.LockOpts(opts)
	if err != nil {
		return nil, err
	}
	var lost <-chan struct{}
	err = anyway(ctx, func() (err error) {
		lost, err = l.Lock(ctx.Done())
		if err == nil && lost == nil { // it was not waited for long enough
			err = errNotYet
		}
		return err
	}, func() { _ = l.Unlock() })
	switch {
	case errors.Is(err, errNotYet) && try:
		return nil, locker.ErrLocked
	case err != nil:
		return nil, err
	}
	return &held{lost: lost, unlock: func(ctx context.Context) error {
		return anyway(ctx, l.Unlock, func() {})
	}}, nil
}

var errNotYet = errors.New("not locked yet")

func (c *consulLocks) Close() error { return nil }
