// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"time"

	"github.com/golocker/locker/backend"
)

// add registers a contender before its node is made, so that whoever sees the
// session end finds it.
func (s *session) add(g *backend.Grant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ending(); err != nil {
		return err
	}
	s.holds[g.Owner] = g
	return nil
}

// found records the path of a contender's node.
func (s *session) found(g *backend.Grant, path string, adopted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := g.Sys.(*hold)
	h.create, h.path, h.adopted = nil, path, adopted
	s.nodes[path] = g
}

// notFound records that a contender surely has no node.
func (s *session) notFound(g *backend.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.Sys.(*hold).create = nil
}

func (s *session) pathOf(h *hold) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h.path
}

// leavesSomething says whether a contender has a node, or may have one yet.
func (s *session) leavesSomething(g *backend.Grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := g.Sys.(*hold)
	return h.create != nil || h.path != ""
}

// drop forgets a contender that surely has no node.
func (s *session) drop(g *backend.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := g.Sys.(*hold)
	delete(s.holds, g.Owner)
	delete(s.nodes, h.path)
	h.create, h.path = nil, ""
}

// grant marks a contender as a holder, and returns until when it surely is: its
// session's deadline, which the grant did not extend (G2a).
func (s *session) grant(g *backend.Grant) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := g.Sys.(*hold)
	if err := s.ending(); err != nil {
		return time.Time{}, err
	}
	if h.vanished {
		return time.Time{}, lost("its node was deleted")
	}
	h.granted = true
	return s.until, nil
}

// holding says whether g still has its node, as far as the session knows.
func (s *session) holding(g *backend.Grant) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds[g.Owner] == g
}
