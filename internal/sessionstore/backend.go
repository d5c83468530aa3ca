// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A Backend is the adapter: one client of a [Store], with one session at a
// time for everything it locks.
type Backend struct {
	Link *Link

	store    *Store
	id       int64
	ctx      context.Context // ends with Close
	shut     context.CancelFunc
	sessions sync.WaitGroup // their goroutines

	mu      sync.Mutex
	opened  int
	current *session
}

// NewBackend returns a new client of the store. It sends nothing: the first
// Lock opens the session.
func (s *Store) NewBackend() *Backend {
	b := &Backend{Link: &Link{}, store: s, id: s.clients.Add(1)}
	b.ctx, b.shut = context.WithCancel(context.Background())
	return b
}

// Info describes the store.
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name: "sessionstore", Fencing: true, Fair: true,
		MinTTL: time.Second, MaxTTL: time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration {
			if b.store.ExpireAfter != nil {
				return b.store.ExpireAfter(ttl)
			}
			return ttl
		},
	}
}

// A hold is what the adapter remembers of a grant, in Grant.Sys. The session's
// mutex guards it.
type hold struct {
	session    *session
	unanswered bool // the enqueue: it may still be on its way
	granted    bool
}

// Lock enqueues a contender, and waits for the one before it to be gone.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	s, err := b.session(ctx, req.TTL)
	if err != nil {
		return nil, err
	}
	h := &hold{session: s}
	g := &backend.Grant{Request: req, Group: s, Sys: h}
	if err := s.add(g); err != nil {
		return nil, err
	}

	linger, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	predecessor, err := s.enqueue(linger, g)
	switch {
	case errors.Is(err, backend.ErrUnavailable):
		h.unanswered = true
		return g, err
	case err != nil:
		s.drop(g)
		return nil, err
	}
	if predecessor != 0 {
		if req.Queued != nil {
			req.Queued()
		}
		if err := s.waitTurn(ctx, linger, g, predecessor); err != nil {
			return g, err
		}
	}
	if g.Until, err = s.grant(g); err != nil {
		return g, err
	}
	return g, nil
}

// Renew renews the session: one request for all its grants. Its reply says
// which of them somebody deleted by hand (G2f).
func (b *Backend) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	renewals := make([]backend.Renewal, len(grants))
	s := grants[0].Group.(*session)
	alive, until, err := s.renew(ctx, grants)
	for i := range renewals {
		switch {
		case err != nil:
			renewals[i].Err = err
		case !alive[i]:
			s.drop(grants[i])
			renewals[i].Err = fmt.Errorf("%w: its key was deleted", backend.ErrLost)
		default:
			renewals[i].Until = until
		}
	}
	return renewals
}

// Unlock deletes the contender's key.
func (b *Backend) Unlock(ctx context.Context, g *backend.Grant) error {
	return g.Sys.(*hold).session.unlock(ctx, g)
}

// Withdraw deletes the contender's key. If the enqueue may still be on its way
// it leaves a tombstone, bound to the session, that the enqueue meets (G1a).
func (b *Backend) Withdraw(ctx context.Context, g *backend.Grant) error {
	return g.Sys.(*hold).session.withdraw(ctx, g)
}

// Inspect says who holds name.
func (b *Backend) Inspect(ctx context.Context, name string) (backend.State, error) {
	return exchange(ctx, b.Link, Message{Kind: Inspect, Name: name}, func(context.Context) (backend.State, error) {
		return b.store.State(name), nil
	})
}

// Close ends the session, within three seconds.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.shut()
	b.mu.Unlock()
	b.sessions.Wait()
	return nil
}

// session returns the session for new locks, once it is open.
func (b *Backend) session(ctx context.Context, ttl time.Duration) (*session, error) {
	b.mu.Lock()
	if b.ctx.Err() != nil {
		b.mu.Unlock()
		return nil, errors.New("the backend is closed")
	}
	if b.current == nil || !b.current.usable() {
		b.opened++
		b.current = newSession(b, fmt.Sprintf("%d-%d", b.id, b.opened), ttl)
		b.sessions.Go(b.current.run)
	}
	s := b.current
	b.mu.Unlock()

	select {
	case <-s.opened:
		return s, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
