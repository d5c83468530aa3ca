// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
)

// A tombstone fences the requests of an owner that may still be on their way.
const tombstoneTTL = time.Minute

// Renew extends grants in one pipeline per node.
func (b *Backend) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	start := backend.Now()
	results := make([]backend.Renewal, len(grants))
	calls := make([]*call, len(grants))
	for i, g := range grants {
		r := g.Sys.(*request)
		calls[i] = newCall(ctx, renewScript, []string{r.keys.lock}, r.Owner, r.TTL.Milliseconds())
	}
	if err := b.run(ctx, func(ctx context.Context) { process(ctx, b.client, calls...) }, func() {}); err != nil {
		for i := range results {
			results[i].Err = unavailable(err)
		}
		return results
	}
	for i, c := range calls {
		switch renewed, err := c.Int(); {
		case err != nil:
			results[i].Err = unavailable(err)
		case renewed == 0:
			results[i].Err = backend.ErrLost
		default:
			results[i].Until = start.Add(grants[i].TTL)
		}
	}
	return results
}

// Unlock releases g.
func (b *Backend) Unlock(ctx context.Context, g *backend.Grant) error {
	held, err := b.release(ctx, g.Sys.(*request))
	switch {
	case err != nil:
		return unavailable(err)
	case !held:
		return backend.ErrLost
	}
	return nil
}

// Withdraw releases what the request holds or waits for. A lock script without
// an answer may still be on its way: a tombstone then makes it do nothing.
func (b *Backend) Withdraw(ctx context.Context, g *backend.Grant) error {
	_, err := b.release(ctx, g.Sys.(*request))
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// release runs the release script and reports whether the lock was held.
func (b *Backend) release(ctx context.Context, r *request) (held bool, err error) {
	tombstone := time.Duration(0)
	if r.open() {
		tombstone = tombstoneTTL
	}
	c := newCall(ctx, releaseScript, r.keys.all(r.Owner), r.Owner, tombstone.Milliseconds())
	err = b.call(ctx, c)
	if err == nil {
		return integer(c.Val()) == 1, nil
	}
	if !redis.HasErrorPrefix(err, "TRYAGAIN") {
		return false, err
	}
	// A cluster moves the slot, and answers only scripts that name one key.
	drop := newCall(ctx, dropScript, []string{r.keys.lock}, r.Owner)
	if dropErr := b.call(ctx, drop); dropErr != nil {
		return false, dropErr
	}
	held = integer(drop.Val()) == 1
	if r.remains() {
		return held, fmt.Errorf("the rest waits for a slot that moves: %w", err)
	}
	return held, nil
}

// call runs one script and returns its error.
func (b *Backend) call(ctx context.Context, c *call) error {
	if err := b.run(ctx, func(ctx context.Context) { process(ctx, b.client, c) }, func() {}); err != nil {
		return err
	}
	return c.Err()
}
