// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessions

import (
	"maps"
	"slices"
	"time"

	"github.com/golocker/locker/backend"
)

// Add registers a contender, before its request is sent, so that whoever sees
// the session end finds it.
func (s *Session) Add(req backend.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.over(); err != nil {
		return err
	}
	s.contenders[req.Owner] = &contender{lost: req.Lost}
	return nil
}

// Drop forgets a contender that surely has nothing in the store. The last one
// of a session that is to be replaced ends it.
func (s *Session) Drop(owner string) {
	s.mu.Lock()
	delete(s.contenders, owner)
	last := s.tombstones > maxTombstones && len(s.contenders) == 0
	s.mu.Unlock()
	if last {
		s.stop(lost("its session was replaced"))
	}
}

// Owners returns those of all contenders that may have something in the store.
func (s *Session) Owners() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.contenders))
}

// Usable says whether the session takes new locks.
func (s *Session) Usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over() == nil && s.tombstones <= maxTombstones
}

// Grant marks a contender as a holder, and returns until when it surely is: its
// session's deadline, which the grant did not extend (G2a).
func (s *Session) Grant(owner string) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.over(); err != nil {
		return time.Time{}, err
	}
	if c := s.contenders[owner]; c != nil {
		c.granted = true
	}
	return s.until, nil
}

// Doubt notes that an enqueue was not answered: it may still be on its way.
func (s *Session) Doubt(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.contenders[owner]; c != nil {
		c.unanswered = true
	}
}

// Doubted says whether an enqueue may still be on its way.
func (s *Session) Doubted(owner string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.contenders[owner]
	return c != nil && c.unanswered
}

// Buried counts a contender's tombstone, once.
func (s *Session) Buried(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.contenders[owner]; c != nil && !c.buried {
		c.buried = true
		s.tombstones++
	}
}
