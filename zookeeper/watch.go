// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"errors"

	"github.com/go-zookeeper/zk"
)

// A watch is on one node, for all of the session who want to know: the one behind
// it, and the client whose it is. A wait that was given up leaves it to the next.
// The driver renews it on each new connection.
type watch struct {
	set   *call[*zk.Stat]
	isSet bool          // the server said so; guarded by the session's mutex
	fired chan struct{} // closed when the node was changed or deleted
}

// observe returns the present watch on a node, or sets one. GetW, unlike ExistsW,
// leaves none on a node that is gone (Z6).
func (s *session) observe(path string) *watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watches[path]; w != nil {
		return w
	}
	w := &watch{fired: make(chan struct{})}
	s.watches[path] = w
	w.set = launch(s, func(c *zk.Conn) (*zk.Stat, error) {
		_, stat, _, err := c.GetW(path)
		s.observed(path, w, stat, err)
		return stat, err
	})
	return w
}

// observed is told what became of a new watch.
func (s *session) observed(path string, w *watch, stat *zk.Stat, err error) {
	s.mu.Lock()
	w.isSet = err == nil
	if err != nil && s.watches[path] == w {
		delete(s.watches, path)
	}
	g := s.nodes[path]
	gone := errors.Is(err, zk.ErrNoNode)
	if err == nil && g != nil {
		gone = stat.EphemeralOwner != s.handshake.session
	}
	s.mu.Unlock()
	if gone {
		s.vanished(path)
	}
}

// event is the driver's callback. It never blocks.
func (s *session) event(e zk.Event) {
	if e.Type != zk.EventNodeDeleted && e.Type != zk.EventNodeDataChanged {
		return
	}
	s.mu.Lock()
	w, own := s.watches[e.Path], s.nodes[e.Path] != nil
	delete(s.watches, e.Path)
	s.mu.Unlock()
	if w != nil {
		close(w.fired)
	}
	switch {
	case !own:
	case e.Type == zk.EventNodeDeleted:
		s.vanished(e.Path)
	default:
		s.observe(e.Path)
	}
}

// vanished tells a holder that its node is gone, unless it was released.
func (s *session) vanished(path string) {
	s.mu.Lock()
	g := s.nodes[path]
	if g == nil {
		s.mu.Unlock()
		return
	}
	delete(s.nodes, path)
	h := g.Sys.(*hold)
	h.vanished = true
	tell := h.granted && !h.released
	if tell {
		delete(s.holds, g.Owner)
	}
	s.mu.Unlock()
	if tell && g.Lost != nil {
		g.Lost(lost("its node was deleted"))
	}
}

// watching says whether the driver has a watch that it sets again on the next
// connection.
func (s *session) watching() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		if w.isSet {
			return true
		}
	}
	return false
}
