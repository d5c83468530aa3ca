// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golocker/locker/backend"
)

// add registers a contender before its key is put, so that whoever sees the
// session end finds it.
func (s *session) add(g *backend.Grant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return context.Cause(s.life)
	}
	s.holds[g.Owner] = g
	return nil
}

// drop forgets a contender that surely has no key.
func (s *session) drop(g *backend.Grant) {
	s.mu.Lock()
	delete(s.holds, g.Owner)
	last := s.tombstones > maxTombstones && len(s.holds) == 0
	s.mu.Unlock()
	if last {
		s.stop(fmt.Errorf("%w: the session was replaced", backend.ErrLost))
	}
}

// usable says whether the session takes new locks.
func (s *session) usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life.Err() == nil && s.tombstones <= maxTombstones
}

// grant marks a contender as a holder, and returns until when it surely is:
// its session's deadline, which the grant did not extend (G2a).
func (s *session) grant(g *backend.Grant) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() != nil {
		return time.Time{}, context.Cause(s.life)
	}
	g.Sys.(*hold).granted = true
	return s.until, nil
}

func (s *session) enqueue(ctx context.Context, g *backend.Grant) (predecessor int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	type reply struct{ token, predecessor int64 }
	r, err := send(ctx, s, Enqueue, g, func(context.Context) (reply, error) {
		token, predecessor, err := s.store.enqueue(s.id, g.Request)
		return reply{token, predecessor}, err
	})
	g.Token = r.token
	return r.predecessor, err
}

// waitTurn returns when no contender is before g. It outlives outages, but not
// ctx and not the session (SPI-wait).
func (s *session) waitTurn(ctx, linger context.Context, g *backend.Grant, predecessor int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })()

	wait := 100 * time.Millisecond
	for {
		err := s.watchKey(ctx, g, predecessor)
		if err == nil {
			predecessor, err = s.verify(linger, g)
		}
		switch {
		case err == nil && predecessor == 0:
			return nil
		case errors.Is(err, errNoContends):
			return fmt.Errorf("%w: the waiter's key was deleted", backend.ErrLost)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil || errors.Is(err, context.DeadlineExceeded):
			wait = 100 * time.Millisecond
		default:
			pause(ctx, wait)
			wait = min(2*wait, s.ttl/3)
		}
	}
}

// watchKey returns when the predecessor is gone. It asks anew after a third of
// the TTL, lest a lost reply is waited for.
func (s *session) watchKey(ctx context.Context, g *backend.Grant, predecessor int64) error {
	ctx, cancel := context.WithTimeout(ctx, s.ttl/3)
	defer cancel()
	_, err := send(ctx, s, WatchKey, g, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.waitDeleted(ctx, g.Name, predecessor)
	})
	return err
}

// verify returns the present predecessor: that the one before is gone does not
// mean that it had none itself.
func (s *session) verify(ctx context.Context, g *backend.Grant) (predecessor int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	return send(ctx, s, Verify, g, func(context.Context) (int64, error) {
		return s.store.verify(g.Name, g.Owner)
	})
}

// unlock takes the first answer for what it is: that a gone key may be the
// effect of an earlier attempt, whose reply was lost, the Client knows (G7a).
func (s *session) unlock(ctx context.Context, g *backend.Grant) error {
	found, err := s.delete(ctx, Delete, g, false)
	if err == nil && !found {
		err = fmt.Errorf("%w: its key is gone", backend.ErrLost)
	}
	if err == nil || errors.Is(err, backend.ErrLost) {
		s.drop(g)
	}
	return err
}

func (s *session) withdraw(ctx context.Context, g *backend.Grant) error {
	tombstone := g.Sys.(*hold).unanswered
	_, err := s.delete(ctx, Withdraw, g, tombstone)
	if err != nil && !errors.Is(err, backend.ErrLost) {
		return err
	}
	if tombstone {
		s.mu.Lock()
		s.tombstones++
		s.mu.Unlock()
	}
	s.drop(g)
	return nil
}

// delete deletes the key of g and says whether it was there; ErrLost: the
// session is gone, and the key with it.
func (s *session) delete(ctx context.Context, kind Kind, g *backend.Grant, tombstone bool) (found bool, err error) {
	if s.isGone() {
		return false, fmt.Errorf("%w: the session ended", backend.ErrLost)
	}
	ctx, cancel := context.WithTimeout(ctx, maxExchange)
	defer cancel()
	return send(ctx, s, kind, g, func(context.Context) (bool, error) {
		return s.store.delete(s.id, g.Name, g.Owner, tombstone)
	})
}
