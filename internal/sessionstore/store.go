// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package sessionstore is a store with sessions, as etcd, Consul and ZooKeeper
// have them, in memory, and an adapter for it: keys live as long as the session
// of the client that put them. Between each client and the store lies a [Link]
// that loses, holds, refuses and counts messages. It is for tests of the
// portable Client, and the shortest complete example of a session adapter.
//
// Everything runs under testing/synctest: timers belong to sessions, channels
// to keys and sessions, and only a message that a test holds has a goroutine.
package sessionstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/backend"
)

// A Store is the server. It keeps, for each name, the keys of its contenders
// in the order of their creation: the first holds the lock.
type Store struct {
	// ExpireAfter is how long a session of a TTL lives unless it is renewed;
	// nil: for its TTL. Consul takes twice as long. Set it before use.
	ExpireAfter func(ttl time.Duration) time.Duration

	clients atomic.Int64

	mu       sync.Mutex
	revision int64
	sessions map[string]*lifetime
	names    map[string][]*key
}

// A lifetime is the server's side of a session.
type lifetime struct {
	expireAfter time.Duration
	expires     time.Time
	timer       *time.Timer
	ended       chan struct{}
	keys        map[*key]bool
	tombstones  map[string]bool // by owner
}

type key struct {
	name, owner, note string
	created           int64 // the revision: the fencing token
	since             time.Time
	session           *lifetime
	deleted           chan struct{}
}

var (
	errNoSession  = errors.New("no such session")
	errTombstone  = errors.New("the request was withdrawn")
	errNoContends = errors.New("no such contender")
)

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{sessions: map[string]*lifetime{}, names: map[string][]*key{}}
}

// EndSessions ends all sessions, as an administrator or a server that lost its
// memory does.
func (s *Store) EndSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.sessions {
		s.end(id)
	}
}

// DeleteHolder deletes the holder's key by hand, under its living session.
func (s *Store) DeleteHolder(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys := s.names[name]; len(keys) > 0 {
		s.remove(keys[0])
	}
}

// Sessions returns how many sessions live.
func (s *Store) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Tombstones returns how many tombstones there are.
func (s *Store) Tombstones() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.sessions {
		n += len(l.tombstones)
	}
	return n
}

// State returns who holds name, and how many wait for it.
func (s *Store) State(name string) backend.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.names[name]
	if len(keys) == 0 {
		return backend.State{}
	}
	return backend.State{Held: true, Note: keys[0].note, Token: keys[0].created, Since: keys[0].since, Waiters: len(keys) - 1}
}

func (s *Store) createSession(id string, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[id] != nil {
		return // a replay
	}
	l := &lifetime{expireAfter: ttl, ended: make(chan struct{}), keys: map[*key]bool{}, tombstones: map[string]bool{}}
	if s.ExpireAfter != nil {
		l.expireAfter = s.ExpireAfter(ttl)
	}
	l.expires = backend.Now().Add(l.expireAfter)
	l.timer = time.AfterFunc(l.expireAfter, func() { s.expire(id, l) })
	s.sessions[id] = l
}

// renew extends a session and says which of the owners still have their key.
func (s *Store) renew(id string, grants []*backend.Grant) (alive []bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.sessions[id]
	if l == nil {
		return nil, errNoSession
	}
	l.expires = backend.Now().Add(l.expireAfter)
	l.timer.Reset(l.expireAfter)
	for _, g := range grants {
		alive = append(alive, s.find(g.Name, g.Owner) != nil)
	}
	return alive, nil
}

// enqueue puts the key of a contender, unless the tombstone of its owner is
// there, and returns its creation revision and that of its predecessor; zero:
// it is the first and holds the lock. With NoWait it puts the key only if
// there is no other.
func (s *Store) enqueue(id string, req backend.Request) (token, predecessor int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.sessions[id]
	switch {
	case l == nil:
		return 0, 0, errNoSession
	case l.tombstones[req.Owner]:
		return 0, 0, errTombstone
	case req.NoWait && len(s.names[req.Name]) > 0:
		return 0, 0, backend.ErrLocked
	}
	s.revision++
	k := &key{name: req.Name, owner: req.Owner, note: req.Note, created: s.revision, since: backend.Now(), session: l, deleted: make(chan struct{})}
	l.keys[k] = true
	s.names[req.Name] = append(s.names[req.Name], k)
	return k.created, s.predecessor(k), nil
}

// verify returns the predecessor of a contender.
func (s *Store) verify(name, owner string) (predecessor int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.find(name, owner)
	if k == nil {
		return 0, errNoContends
	}
	return s.predecessor(k), nil
}

// delete deletes the key of an owner and says whether it was there. With
// tombstone, in the same transaction, it keeps a request of that owner which
// is still on its way from being applied.
func (s *Store) delete(id, name, owner string, tombstone bool) (found bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.sessions[id]
	if l == nil {
		return false, errNoSession
	}
	if tombstone {
		l.tombstones[owner] = true
	}
	k := s.find(name, owner)
	if k != nil {
		s.remove(k)
	}
	return k != nil, nil
}

// waitDeleted returns nil once the key that was created at a revision is gone.
func (s *Store) waitDeleted(ctx context.Context, name string, created int64) error {
	s.mu.Lock()
	i := slices.IndexFunc(s.names[name], func(k *key) bool { return k.created == created })
	if i < 0 {
		s.mu.Unlock()
		return nil
	}
	deleted := s.names[name][i].deleted
	s.mu.Unlock()
	return wait(ctx, deleted)
}

// waitEnded returns nil once the session is gone.
func (s *Store) waitEnded(ctx context.Context, id string) error {
	s.mu.Lock()
	l := s.sessions[id]
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	return wait(ctx, l.ended)
}

func (s *Store) endSession(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(id)
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) expire(id string, l *lifetime) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[id] == l && !backend.Now().Before(l.expires) {
		s.end(id)
	}
}

// end, remove, find and predecessor expect that mu is held.

func (s *Store) end(id string) {
	l := s.sessions[id]
	if l == nil {
		return
	}
	delete(s.sessions, id)
	l.timer.Stop()
	close(l.ended)
	for k := range l.keys {
		s.remove(k)
	}
}

func (s *Store) remove(k *key) {
	delete(k.session.keys, k)
	rest := slices.DeleteFunc(s.names[k.name], func(other *key) bool { return other == k })
	if s.names[k.name] = rest; len(rest) == 0 {
		delete(s.names, k.name)
	}
	close(k.deleted)
}

func (s *Store) find(name, owner string) *key {
	for _, k := range s.names[name] {
		if k.owner == owner {
			return k
		}
	}
	return nil
}

func (s *Store) predecessor(k *key) int64 {
	if i := slices.Index(s.names[k.name], k); i > 0 {
		return s.names[k.name][i-1].created
	}
	return 0
}
