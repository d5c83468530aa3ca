// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/golocker/locker"
)

// A library locks names with another library.
type library interface {
	// lock returns locker.ErrLocked, if another holds the lock and try is set.
	lock(ctx context.Context, name string, try bool) (*held, error)
	io.Closer
}

// held is a lock as its library knows it.
type held struct {
	until  func() time.Time            // nil: its holder knows of no deadline
	lost   <-chan struct{}             // closed when the library tells a loss; nil: it never does
	renew  func(context.Context) error // nil: the library does, or there is nothing to renew
	unlock func(context.Context) error
}

// peer makes a Locker of a library, as an application would have to.
type peer struct {
	library
	ttl time.Duration

	mu     sync.Mutex
	leases map[*locker.Lease]*keeping
}

// keeping is what renews a lock and looks for its loss.
type keeping struct {
	held
	end context.CancelCauseFunc // of the lease
}

func newPeer(l library, ttl time.Duration) *peer {
	return &peer{library: l, ttl: ttl, leases: map[*locker.Lease]*keeping{}}
}

func (p *peer) Lock(ctx context.Context, name string, opts ...locker.Option) (*locker.Lease, error) {
	o := locker.MakeOptions(opts...)
	if o.MaxWait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.MaxWait)
		defer cancel()
	}
	h, err := p.lock(ctx, name, o.NoWait)
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
			err = fmt.Errorf("%w: %w", ctx.Err(), err)
		}
		return nil, err
	}
	alive, end := context.WithCancelCause(context.WithoutCancel(ctx))
	lease := locker.NewLease(alive, name, 0, h.until)
	k := &keeping{held: *h, end: end}
	p.mu.Lock()
	p.leases[lease] = k
	p.mu.Unlock()
	go k.keep(alive, p.ttl/3, !o.NoRenew)
	return lease, nil
}

// keep renews, if it has to, until the lease ends.
func (k *keeping) keep(alive context.Context, every time.Duration, renew bool) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-alive.Done():
			return
		case <-k.lost:
			k.end(fmt.Errorf("%w: its library says so", locker.ErrLost))
		case <-tick.C:
			if k.renew == nil || !renew {
				continue
			}
			if err := k.renew(alive); errors.Is(err, locker.ErrLost) {
				k.end(err)
			}
		}
	}
}

func (p *peer) Renew(ctx context.Context, lease *locker.Lease) error {
	if err := lease.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	k := p.leases[lease]
	p.mu.Unlock()
	if k == nil || k.renew == nil {
		return nil
	}
	return k.renew(ctx)
}

func (p *peer) Unlock(ctx context.Context, lease *locker.Lease) error {
	p.mu.Lock()
	k := p.leases[lease]
	delete(p.leases, lease)
	p.mu.Unlock()
	if k == nil {
		return locker.ErrUnlocked
	}
	k.end(locker.ErrUnlocked)
	ctx, cancel := context.WithTimeout(ctx, p.ttl)
	defer cancel()
	return k.unlock(ctx)
}

// anyway calls what takes no context. If ctx ends first, undo follows a success
// that comes later.
func anyway(ctx context.Context, do func() error, undo func()) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		go func() {
			if <-done == nil {
				undo()
			}
		}()
		return ctx.Err()
	}
}
