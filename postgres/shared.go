// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"fmt"
	"time"
)

// A dialing is the shared session on its way, for all who need it.
type dialing struct {
	done chan struct{}
	s    *session
	err  error
}

// shared returns the session that holds all locks which nobody waited for, and
// makes it if there is none.
func (b *Backend) shared(ctx context.Context, ttl time.Duration) (*session, error) {
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return nil, errClosed
	case b.ttl == 0:
		b.ttl = ttl
	case b.ttl != ttl:
		defer b.mu.Unlock()
		return nil, fmt.Errorf("the sessions of this backend have a TTL of %v, a request asks for %v: give each Client a Backend of its own", b.ttl, ttl)
	}
	if s := b.current; s != nil && s.alive() {
		b.mu.Unlock()
		return s, nil
	}
	d := b.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		b.dialing = d
		b.goroutines.Go(func() { b.dial(d) })
	}
	b.mu.Unlock()
	select {
	case <-d.done:
		return d.s, d.err
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

func (b *Backend) dial(d *dialing) {
	d.s, d.err = b.openSession(b.life, b.ttl)
	b.mu.Lock()
	b.dialing = nil
	if d.err == nil {
		b.current = d.s
	}
	b.mu.Unlock()
	close(d.done)
}

// openSession makes a session and starts it.
func (b *Backend) openSession(ctx context.Context, ttl time.Duration) (*session, error) {
	s, err := b.open(ctx, ttl)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.sessions[s] = struct{}{}
	b.mu.Unlock()
	s.start(b.spawn)
	return s, nil
}
