// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"time"

	"github.com/golocker/locker/backend"
)

// expired says whether the session's deadline has passed. While a statement
// blocks, the server's idle timer stands still. s.mu is held.
func (s *session) expired(now time.Time) bool {
	blocked := len(s.flight) > 0 && s.flight[0].blocks
	return !blocked && !now.Before(s.until.Add(-backend.Margin(s.ttl)))
}

// pace is when to look at a session again: at its deadline, and often enough
// that it is kept after the machine has slept, when timers are late.
func (s *session) pace(now time.Time) time.Duration {
	margin := backend.Margin(s.ttl)
	if left := s.until.Add(-margin).Sub(now); left > 0 {
		return min(margin/2, left)
	}
	return margin / 2 // a statement blocks
}

// tick ends a session whose deadline has passed, and extends one that was not
// used for a while. The Client renews sooner where something is held.
func (s *session) tick() {
	now := backend.Now()
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	idle := len(s.flight)+len(s.queue) == 0 && now.Sub(s.used) >= s.ttl*2/5
	expired := s.expired(now)
	unused := idle && s.spare
	if unused {
		s.spare = false // it is nobody's any more
	}
	s.timer.Reset(s.pace(now))
	s.mu.Unlock()
	switch {
	case expired:
		s.fail(errGivenUp, false)
	case unused:
		s.fail(errClosed, false)
	case idle:
		s.enqueue(ping())
	}
}
