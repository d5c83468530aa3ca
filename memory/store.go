// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A Store keeps the locks that its clients contend for. It is safe for
// concurrent use.
type Store struct {
	mu        sync.Mutex
	lastToken int64 // of all names
	names     map[string][]*contender
}

// A contender holds the lock if it is the first of its name, else it waits.
// Grant.Group is its client.
type contender struct {
	backend.Grant // Token and Until are zero while it waits

	since   time.Time
	timer   *time.Timer         // runs while it holds
	granted chan *backend.Grant // gets the grant, or is closed if it left before
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{names: map[string][]*contender{}} }

// Backend returns a further client of s, as another process would have it.
func (s *Store) Backend() *Backend { return &Backend{store: s} }

// enter puts a request at the end of the list for its name.
func (s *Store) enter(client *Backend, req backend.Request) (*contender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if client.closed {
		return nil, errClosed
	}
	if s.holder(req.Name) != nil && req.NoWait {
		return nil, backend.ErrLocked
	}
	c := &contender{
		Grant:   backend.Grant{Request: req, Group: client},
		granted: make(chan *backend.Grant, 1),
	}
	s.names[c.Name] = append(s.names[c.Name], c)
	s.settle(c.Name)
	return c, nil
}

// settle grants the lock to whoever has become the first. It is called with
// s.mu held, after every change of a list.
func (s *Store) settle(name string) {
	list := s.names[name]
	if len(list) == 0 {
		delete(s.names, name)
		return
	}
	if c := list[0]; !c.holds() {
		s.grant(c)
	}
}

func (s *Store) grant(c *contender) {
	s.lastToken++
	c.Token = s.lastToken
	c.since = backend.Now()
	c.Until = c.since.Add(c.TTL)
	c.timer = time.AfterFunc(c.TTL, func() { s.timeout(c) })
	g := c.Grant
	c.granted <- &g
}

func (c *contender) holds() bool { return c.Token != 0 }

// holder returns who holds the lock now, or nil. It is called with s.mu held,
// and is the one place where grants expire. The timer of one that did is not
// stopped: it may belong to a bubble of testing/synctest that is over.
func (s *Store) holder(name string) *contender {
	for len(s.names[name]) > 0 {
		c := s.names[name][0]
		if backend.Now().Before(c.Until) {
			return c
		}
		s.remove(c)
		if c.Lost != nil { // not under s.mu, nor inside a call of the holder's
			go c.Lost(fmt.Errorf("%w: not renewed within %v", backend.ErrLost, c.TTL))
		}
	}
	return nil
}

// timeout runs when the TTL of c's grant has passed. A renewal leaves the timer
// alone, so it may have been renewed since; then the timer is set anew.
func (s *Store) timeout(c *contender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holder(c.Name) == c {
		c.timer.Reset(c.Until.Sub(backend.Now()))
	}
}

// remove takes c off its list and hands on what it held. It is called with
// s.mu held; a second call does nothing.
func (s *Store) remove(c *contender) {
	list := s.names[c.Name]
	i := slices.Index(list, c)
	if i < 0 {
		return
	}
	s.names[c.Name] = slices.Delete(list, i, i+1)
	if !c.holds() {
		close(c.granted)
	}
	s.settle(c.Name)
}

// end removes c before its time.
func (s *Store) end(c *contender) {
	if c.timer != nil {
		c.timer.Stop()
	}
	s.remove(c)
}

// held returns the contender that holds g, or nil if g is gone.
func (s *Store) held(g *backend.Grant) *contender {
	if c := s.holder(g.Name); c != nil && c.Owner == g.Owner {
		return c
	}
	return nil
}

func (s *Store) leave(c *contender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(c)
}

func (s *Store) renew(g *backend.Grant) backend.Renewal {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.held(g)
	if c == nil {
		return backend.Renewal{Err: backend.ErrLost}
	}
	c.Until = backend.Now().Add(c.TTL)
	return backend.Renewal{Until: c.Until}
}

func (s *Store) unlock(g *backend.Grant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.held(g)
	if c == nil {
		return backend.ErrLost
	}
	s.end(c)
	return nil
}

func (s *Store) withdraw(g *backend.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holder(g.Name)
	for _, c := range s.names[g.Name] {
		if c.Owner == g.Owner {
			s.end(c)
			return
		}
	}
}

func (s *Store) breakGrant(name string) bool {
	s.mu.Lock()
	c := s.holder(name)
	if c != nil {
		s.end(c)
	}
	s.mu.Unlock()
	if c != nil && c.Lost != nil {
		c.Lost(fmt.Errorf("%w: taken away by Break", backend.ErrLost))
	}
	return c != nil
}

func (s *Store) inspect(name string) backend.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.holder(name)
	if c == nil {
		return backend.State{}
	}
	return backend.State{
		Held:    true,
		Note:    c.Note,
		Token:   c.Token,
		Since:   c.since,
		Waiters: len(s.names[name]) - 1,
	}
}

func (s *Store) close(client *Backend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	client.closed = true
	for _, list := range s.names {
		// From the end, so that none of them is granted what another held.
		for _, c := range slices.Backward(slices.Clone(list)) {
			if c.Group == client {
				s.end(c)
			}
		}
	}
}
