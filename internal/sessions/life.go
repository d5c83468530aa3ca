// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessions

import (
	"context"
	"time"

	"github.com/golocker/locker/backend"
)

const (
	maxRenewal = 3 * time.Second // of one renewal
	endTimeout = 2 * time.Second // of one attempt to end a session
	lastSpell  = 2 * time.Second // of attempts to end it after the backend's end
)

// KeepAlive renews an open session whenever that is due, until its life ends. A
// renewal that succeeds calls Extend; each has time for another one after it.
func (s *Session) KeepAlive(renew func(context.Context) error) {
	for !s.Expired() {
		wait, within := s.next()
		if wait > 0 {
			PauseOr(s.life, wait, s.hurry)
			continue
		}
		ctx, cancel := context.WithTimeout(s.life, within)
		if renew(ctx) != nil {
			s.again()
		}
		cancel()
	}
}

// Hurry makes the next keep-alive due at once.
func (s *Session) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = backend.Now()
	select {
	case s.hurry <- struct{}{}:
	default: // KeepAlive has yet to look at the one before
	}
}

// next returns how long to wait for the next keep-alive or for the deadline,
// and how long a keep-alive may take now.
func (s *Session) next() (wait, within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := backend.Now()
	wait = min(s.due.Sub(now), s.until.Add(-backend.Margin(s.ttl)).Sub(now))
	within = min(max(s.ttl/6, 500*time.Millisecond), maxRenewal, s.until.Sub(now)/2)
	return wait, within
}

// again puts the next keep-alive off, after one that failed.
func (s *Session) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = backend.Now().Add(s.ttl / 20)
}

// Destroy has end tried until it says that the session is gone, as Persist does.
// The session's life must be over.
func (s *Session) Destroy(end func(context.Context) (gone bool)) {
	Persist(s.base, s.TTL(), func(ctx context.Context) bool {
		if !s.Gone() && end(ctx) {
			s.SetGone()
		}
		return s.Gone()
	})
}

// Persist makes attempts to end a session of a TTL until one succeeds, however long
// that takes; once base has ended it goes on for a last spell, whose first attempt
// comes at once.
func Persist(base context.Context, ttl time.Duration, attempt func(context.Context) (gone bool)) {
	if insist(base, endTimeout, max(FirstPause, ttl/3), attempt) {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(base), lastSpell)
	defer cancel()
	insist(last, lastSpell/2, lastSpell/4, attempt)
}

// insist makes attempts until one succeeds or ctx ends, and says which it was.
func insist(ctx context.Context, timeout, longestPause time.Duration, attempt func(context.Context) bool) bool {
	for wait := FirstPause; ctx.Err() == nil; wait = min(2*wait, longestPause) {
		within, cancel := context.WithTimeout(ctx, timeout)
		done := attempt(within)
		cancel()
		if done {
			return true
		}
		Pause(ctx, wait)
	}
	return false
}
