// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"slices"
)

// Sessions that wait are kept for the next waiter once their lock is released:
// for two fifths of a TTL, see session.tick.

// waitingSession returns a session for a wait: a spare one, or a new one.
func (b *Backend) waitingSession(ctx context.Context) (*session, error) {
	if s := b.takeSpare(); s != nil {
		return s, nil
	}
	type opened struct {
		s   *session
		err error
	}
	out := make(chan opened)
	b.mu.Lock()
	ttl := b.ttl
	b.mu.Unlock()
	ok := b.spawn(func() {
		s, err := b.openSession(b.life, ttl)
		select {
		case out <- opened{s, err}:
		case <-ctx.Done(): // for the next one
			if s != nil {
				b.keep(s)
			}
		}
	})
	if !ok {
		return nil, errClosed
	}
	select {
	case o := <-out:
		return o.s, o.err
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
}

func (b *Backend) takeSpare() *session {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := len(b.spares); n > 0; n = len(b.spares) {
		s := b.spares[n-1]
		b.spares = b.spares[:n-1]
		if s.reuse() {
			return s
		}
	}
	return nil
}

func (s *session) reuse() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	usable := s.spare && s.err == nil
	s.spare = false
	return usable
}

// keep makes a session that holds nothing a spare one.
func (b *Backend) keep(s *session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.vacate(s)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.spare = true
		b.spares = append(b.spares, s)
	}
}

// vacate takes a session out of the count of those that wait, and out of the
// spare ones. b.mu is held.
func (b *Backend) vacate(s *session) {
	if s.slot {
		s.slot = false
		b.waiting--
	}
	b.spares = slices.DeleteFunc(b.spares, func(other *session) bool { return other == s })
}
