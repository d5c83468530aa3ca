// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package memory keeps locks in the memory of one process: for tests, for
// programs that run as a single process, and as the reference that other
// backends are compared with.
//
// # URL
//
//	memory://NAME?ttl=30s
//
// NAME is a host, a path or both; it may be empty. Within a process every
// client opened on one name shares one [Store], which is never dropped; see
// [Named]. There are no parameters but ttl.
//
// # Recipe
//
// A name has one list of contenders, in the order in which they arrived. The
// first of them holds the lock, the others wait. Whoever takes the first away
// (an unlock, a withdrawal, the end of its TTL) grants the lock to the next and
// wakes it through a channel of its own. A grant has one timer, which hands the
// lock on when the TTL has passed without a renewal. Every operation looks at
// the clock as well, so that a late timer keeps no grant alive. The token is a
// counter of the store.
//
// # Guarantees
//
// Waiters are served first come, first served. Tokens grow, across all names of
// a store and for as long as it lives. A lost grant is told at once: one that
// was not renewed within its TTL, or that [Backend.Break] took away. Once a
// lock is neither held nor waited for, the store keeps nothing of its name.
// Held locks cost no goroutine. Every answer is the store's own word, so there
// is never a request whose fate is unknown, and nothing to fence.
//
// # Limits
//
// Another process does not see these locks. The TTL is from 100 ms to 24 h. The
// store dies with the process, and its tokens begin anew.
//
// In a bubble of testing/synctest the clock is the bubble's. Bubbles may share a
// store but must not contend for the same name, nor leave a lock held that
// another will want: each has a time of its own. A store for each test, as from
// [New], avoids the question.
//
// # Sharing with native clients
//
// There are none.
package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golocker/locker/backend"
)

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// A Backend is one client of a [Store]. It is a [backend.Backend] and a
// [backend.Inspector], and safe for concurrent use.
type Backend struct {
	store  *Store
	closed bool // under store.mu
}

// New returns a client of a store of its own.
func New() *Backend { return NewStore().Backend() }

// Store returns the store that b is a client of. Its further clients contend
// with b.
func (b *Backend) Store() *Store { return b.store }

// Info implements [backend.Backend].
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name:    "memory",
		Fencing: true,
		Fair:    true,
		// A quarter of the TTL is the margin of a lease. At 100 ms that
		// covers a timer of Windows, which may be late by 16 ms.
		MinTTL:  100 * time.Millisecond,
		MaxTTL:  24 * time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return ttl },
	}
}

// Lock implements [backend.Backend]. Its error always says that nothing of the
// request is left.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := b.store.enter(b, req)
	if err != nil {
		return nil, err
	}
	select {
	case g, ok := <-c.granted:
		return granted(g, ok)
	default:
		if req.Queued != nil {
			req.Queued()
		}
	}
	select {
	case g, ok := <-c.granted:
		return granted(g, ok)
	case <-ctx.Done():
		b.store.leave(c)
		return nil, ctx.Err()
	}
}

func granted(g *backend.Grant, ok bool) (*backend.Grant, error) {
	if !ok {
		return nil, fmt.Errorf("%w: withdrawn, or the backend was closed", backend.ErrLost)
	}
	return g, nil
}

// Renew implements [backend.Backend].
func (b *Backend) Renew(_ context.Context, grants []*backend.Grant) []backend.Renewal {
	renewals := make([]backend.Renewal, len(grants))
	for i, g := range grants {
		renewals[i] = b.store.renew(g)
	}
	return renewals
}

// Unlock implements [backend.Backend]. It works with an ended ctx too.
func (b *Backend) Unlock(_ context.Context, g *backend.Grant) error {
	return b.store.unlock(g)
}

// Withdraw implements [backend.Backend]. A Lock of g.Owner that still waits
// returns an error that wraps [backend.ErrLost].
func (b *Backend) Withdraw(_ context.Context, g *backend.Grant) error {
	b.store.withdraw(g)
	return nil
}

// Break ends the grant that holds name at present, as if the store had lost it:
// the holder is told so before Break returns, and the next waiter is granted the
// lock. It reports whether name was held. Whose client holds it does not matter.
func (b *Backend) Break(name string) bool { return b.store.breakGrant(name) }

// Inspect implements [backend.Inspector].
func (b *Backend) Inspect(_ context.Context, name string) (backend.State, error) {
	return b.store.inspect(name), nil
}

// Close gives up all that b holds or waits for, without a word to the holders,
// as the end of a session does. It returns nil.
func (b *Backend) Close() error {
	b.store.close(b)
	return nil
}

var errClosed = errors.New("the memory backend is closed")
