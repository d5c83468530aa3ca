// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A store is the server of the reference backend: for each name a queue, whose
// first entry holds the lock. An entry lives as long as its session.
type store struct {
	bugs bugs

	mu       sync.Mutex
	names    map[string]*queue
	sessions map[string]*session
	gone     map[string]bool // tombstones of owners
	token    int64
	links    []*link // of all clients
}

type queue struct {
	entries []*entry
	tokens  int64 // for the bug that counts in the key
	tries   int   // for the bug that asks for each of them
	forgot  *link // for the bug that forgets its hold
}

type entry struct {
	name, owner, note, session string
	token                      int64
	head                       bool   // it has been told that it holds the lock
	link                       *link  // over which it is told
	told                       *inbox // what it is told
}

type event struct{ granted, lost bool }

type session struct {
	expires time.Time
	timer   *time.Timer
}

func newStore(b bugs) *store {
	return &store{bugs: b, names: map[string]*queue{}, sessions: map[string]*session{}, gone: map[string]bool{}}
}

// The verdicts of the store on a request.
type verdict struct {
	state string // granted, queued, locked, gone, nosession
	token int64
	tries int
}

func (s *store) key(name string) string {
	switch {
	case s.bugs[foldCase]:
		return strings.ToLower(name)
	case s.bugs[sharePath]:
		return strings.Trim(name, "/")
	}
	return name
}

// touch makes or extends a session. It never brings back one that has expired,
// unless it is made.
func (s *store) touch(id string, ttl time.Duration, create bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touchLocked(id, ttl, create)
}

func (s *store) touchLocked(id string, ttl time.Duration, create bool) bool {
	s.reap()
	x := s.sessions[id]
	if x == nil {
		if !create {
			return false
		}
		x = &session{}
		s.sessions[id] = x
		x.timer = time.AfterFunc(ttl, func() { s.expire(id) })
	}
	x.expires = backend.Now().Add(ttl)
	x.timer.Reset(ttl)
	return true
}

func (s *store) expire(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.sessions[id]
	if x == nil {
		return
	}
	if left := x.expires.Sub(backend.Now()); left > 0 {
		x.timer.Reset(left)
		return
	}
	s.endSession(id)
}

// reap ends what has expired, for timers may be late.
func (s *store) reap() {
	now := backend.Now()
	for id, x := range s.sessions {
		if !now.Before(x.expires) {
			s.endSession(id)
		}
	}
}

func (s *store) endSession(id string) {
	if x := s.sessions[id]; x != nil {
		x.timer.Stop()
		delete(s.sessions, id)
	}
	for _, q := range s.names {
		for _, e := range slices.Clone(q.entries) {
			if e.session == id && (e.head || !s.bugs[stuckBehindDead]) {
				s.remove(q, e, true)
			}
		}
	}
}

// remove takes an entry out of its queue and tells the next holder.
func (s *store) remove(q *queue, e *entry, lost bool) {
	i := slices.Index(q.entries, e)
	if i < 0 {
		return
	}
	q.entries = slices.Delete(q.entries, i, i+1)
	if lost && s.bugs[tokenInKey] {
		q.tokens = 0
	}
	if lost && !s.bugs[muteLoss] {
		e.push(event{lost: true})
	}
	if s.bugs[wakeNeighbour] && lost && i > 0 && i < len(q.entries) {
		s.grant(q, q.entries[i]) // its predecessor vanished, so it must be the head
	}
	s.settle(q)
}

func (s *store) settle(q *queue) {
	if len(q.entries) == 0 {
		return
	}
	if s.bugs[lifo] && !q.entries[0].head {
		last := len(q.entries) - 1
		q.entries = append([]*entry{q.entries[last]}, q.entries[:last]...)
	}
	if s.bugs[herd] {
		for _, e := range q.entries[1:] {
			e.push(event{granted: true})
		}
	}
	s.grant(q, q.entries[0])
}

func (s *store) grant(q *queue, e *entry) {
	if e.head {
		return
	}
	e.head = true
	s.token++
	e.token = s.token
	switch {
	case s.bugs[sameToken]:
		e.token = 7
	case s.bugs[tokenInKey]:
		q.tokens++
		e.token = q.tokens
	}
	if s.bugs[loseWakeUp] && s.token%3 == 0 {
		return
	}
	e.push(event{granted: true})
}

func (e *entry) push(x event) {
	e.link.push(func() { e.told.push(x) })
}

func (s *store) find(owner, name string) (*queue, *entry) {
	q := s.names[s.key(name)]
	if q == nil {
		return nil, nil
	}
	for _, e := range q.entries {
		if e.owner == owner {
			return q, e
		}
	}
	return q, nil
}

// lock queues a request, or answers where it stands. It is idempotent by owner.
func (s *store) lock(req backend.Request, id string, l *link, told *inbox) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reap()
	if s.gone[req.Owner] && !s.bugs[noTombstone] {
		return verdict{state: "gone"}
	}
	if s.sessions[id] == nil {
		return verdict{state: "nosession"}
	}
	k := s.key(req.Name)
	q := s.names[k]
	if q == nil {
		q = &queue{}
		s.names[k] = q
	}
	_, e := s.find(req.Owner, req.Name)
	if e == nil {
		if (s.bugs[reentrant] || q.forgot == l) && len(q.entries) > 0 && q.entries[0].link == l && q.entries[0].head {
			return verdict{state: "granted", token: q.entries[0].token}
		}
		if req.NoWait && s.bugs[lyingNoWait] && len(q.entries) == 0 && q.tokens == 0 {
			q.tokens = 1 // a name that nobody ever had
			return verdict{state: "locked"}
		}
		if req.NoWait && len(q.entries) > 0 && !s.bugs[doubleGrant] && !s.bugs[queueNoWait] {
			if s.bugs[crowdedTry] {
				q.tries++
			}
			return verdict{state: "locked", tries: q.tries}
		}
		e = &entry{name: req.Name, owner: req.Owner, note: req.Note, session: id, link: l, told: told}
		q.entries = append(q.entries, e)
		if s.bugs[doubleGrant] {
			s.grant(q, e)
		}
		s.settle(q)
		if req.NoWait && !e.head {
			return verdict{state: "locked"}
		}
	}
	if e.head {
		return verdict{state: "granted", token: e.token}
	}
	return verdict{state: "queued"}
}

// where says whether an owner holds the lock, waits for it, or is not there.
func (s *store) where(owner, name string) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reap()
	_, e := s.find(owner, name)
	switch {
	case e == nil:
		return verdict{state: "gone"}
	case e.head:
		return verdict{state: "granted", token: e.token}
	}
	return verdict{state: "queued"}
}

// resurrect is what a careless renewal does: set the key, whoever had it.
func (s *store) resurrect(g *backend.Grant, id string, l *link, told *inbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, e := s.find(g.Owner, g.Name); e != nil {
		return
	}
	s.touchLocked(id, g.TTL, true)
	q := s.names[s.key(g.Name)]
	q.entries = append([]*entry{{name: g.Name, owner: g.Owner, session: id, token: g.Token, head: true, link: l, told: told}}, q.entries...)
}

// delete removes an owner's entry, and says whether there was one.
func (s *store) delete(owner, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reap()
	q, e := s.find(owner, name)
	if e == nil && s.bugs[deleteAny] && q != nil && len(q.entries) > 0 {
		e = q.entries[0]
	}
	if e == nil {
		return false
	}
	s.remove(q, e, false)
	return true
}

// leave removes a waiter that gave up.
func (s *store) leave(g *backend.Grant, l *link) {
	s.delete(g.Owner, g.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.names[s.key(g.Name)]; s.bugs[forgetful] && len(q.entries) > 0 && q.entries[0].link == l {
		q.forgot = l
	}
}

// withdraw also fences what is still on its way.
func (s *store) withdraw(owner, name string) {
	s.mu.Lock()
	s.gone[owner] = true
	s.mu.Unlock()
	if s.bugs[withdrawAny] {
		s.mu.Lock()
		defer s.mu.Unlock()
		if q := s.names[s.key(name)]; q != nil && len(q.entries) > 0 {
			s.remove(q, q.entries[0], false)
		}
		return
	}
	s.delete(owner, name)
}

func (s *store) destroy(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endSession(id)
}

// breakLock is the administrator's hand.
func (s *store) breakLock(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.names[s.key(name)]
	if q == nil || len(q.entries) == 0 {
		return
	}
	s.remove(q, q.entries[0], true)
}

func (s *store) leftovers(name string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.names[s.key(name)]; q != nil {
		for i, e := range q.entries {
			found = append(found, fmt.Sprintf("entry %d of %q in session %s", i, e.name, e.session))
		}
	}
	return found
}

func (s *store) join(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = append(s.links, l)
}

// pause stops the server in its tracks.
func (s *store) pause() (resume func()) {
	s.mu.Lock()
	return s.mu.Unlock
}

// restart cuts all connections. Without its data it forgets all but the clock
// from which its tokens come.
func (s *store) restart(keepsData bool) {
	s.mu.Lock()
	links := slices.Clone(s.links)
	if !keepsData {
		for _, x := range s.sessions {
			x.timer.Stop()
		}
		s.names, s.sessions, s.gone = map[string]*queue{}, map[string]*session{}, map[string]bool{}
	}
	s.mu.Unlock()
	for _, l := range links {
		l.Sever()
	}
}

func (s *store) inspect(name string) backend.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.names[s.key(name)]
	switch {
	case q == nil:
		return backend.State{}
	case len(q.entries) == 0:
		return backend.State{Held: s.bugs[staleInspect]}
	}
	e := q.entries[0]
	return backend.State{Held: true, Note: e.note, Token: e.token, Waiters: len(q.entries) - 1}
}
