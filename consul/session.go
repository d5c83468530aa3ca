// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

var errLags = errors.New("the server does not know the session yet")

// A session is one of Consul. One goroutine opens, renews and destroys it,
// another waits for its end.
type session struct {
	*sessions.Session
	b      *Backend
	opened chan struct{} // closed when err is set or the session is open
	err    error
	id     string
}

func newSession(b *Backend) *session {
	return &session{Session: sessions.New(b.base), b: b, opened: make(chan struct{})}
}

func (s *session) run(ttl time.Duration) {
	s.err = s.open(ttl)
	close(s.opened)
	if s.err != nil {
		s.Stop(s.err)
		return
	}
	var watching sync.WaitGroup
	watching.Go(s.watchEnd)
	s.KeepAlive(func(ctx context.Context) error { _, err := s.renew(ctx); return err })
	watching.Wait()
	s.Tell()
	s.Destroy(s.end)
}

// open creates the session. The lock-delay is as short as can be: it is kept for
// each key of a session that ends, and no key is locked again.
func (s *session) open(ttl time.Duration) error {
	a := s.b.agent
	entry := &api.SessionEntry{
		Name: s.b.name, TTL: ttl.String(),
		Behavior: api.SessionBehaviorDelete, LockDelay: time.Millisecond,
	}
	var sent time.Time
	id, err := persist(s.Life(), func(ctx context.Context) (string, error) {
		sent = backend.Now()
		return bounded(ctx, exchangeTimeout, func(ctx context.Context) (string, error) {
			id, _, err := a.renewals.Session().CreateNoChecks(entry, a.write(ctx))
			return id, err
		})
	}, s.b.suspect)
	if err != nil {
		return fmt.Errorf("create a session: %w", err)
	}
	s.id = id
	s.Extend(sent, ttl)
	return nil
}

// watchEnd stops the session when the server says that it has ended.
//
// An answer with nothing new may be of a store that a snapshot has replaced (C6),
// so the next query has no index. One that comes before its time, or with an older
// index than the one before, surely is, or of a server that lags: keys may be back.
func (s *session) watchEnd() {
	var index, newest uint64 // of the next query, and of the last answer
	back := false
	for wait := sessions.FirstPause; s.Life().Err() == nil; {
		began := backend.Now()
		last, here, err := s.awaitEnd(index)
		if here {
			early := index > 0 && last == index && backend.Now().Sub(began) < s.watchTime()
			back = back || early || last < newest
			newest = last
		}
		switch {
		case here && last > index:
			index, wait = last, sessions.FirstPause
			back = back && s.sweep(s.Life()) != nil
			continue
		case here && index > 0:
			index = 0
			continue
		case err == nil && !here && s.absent(s.Life()):
			_ = s.Lost("its session was ended")
			return
		}
		index = 0
		sessions.Pause(s.Life(), wait)
		wait = min(2*wait, s.TTL()/3)
	}
}

// watchTime is how long Consul waits for the session's end, at least.
func (s *session) watchTime() time.Duration { return min(s.TTL(), time.Minute) }

// awaitEnd waits for a change after index, and says whether the session is here.
func (s *session) awaitEnd(index uint64) (last uint64, here bool, err error) {
	a, wait := s.b.agent, s.watchTime()
	meta, err := block(s.Life(), wait, func(ctx context.Context) (*api.QueryMeta, error) {
		entry, meta, err := a.client.Session().Info(s.id, a.blocking(ctx, index, wait))
		here = entry != nil
		return meta, err
	})
	if err != nil {
		return 0, false, err
	}
	return meta.LastIndex, here, nil
}

// absent says whether the session is surely gone. A server that was just elected
// may not know it yet, and one that hides it from the token says so.
func (s *session) absent(ctx context.Context) bool {
	a := s.b.agent
	gone, err := bounded(ctx, exchangeTimeout, func(ctx context.Context) (bool, error) {
		entry, meta, err := a.renewals.Session().Info(s.id, a.consistent(ctx))
		return err == nil && entry == nil && !meta.ResultsFilteredByACLs, err
	})
	return err == nil && gone
}

// renew renews the session and returns until when it surely lasts.
func (s *session) renew(ctx context.Context) (time.Time, error) {
	if s.Expired() {
		return time.Time{}, context.Cause(s.Life())
	}
	a, ttl, sent := s.b.agent, s.TTL(), backend.Now()
	_, err := bounded(ctx, exchangeTimeout, func(ctx context.Context) (*api.WriteMeta, error) {
		return a.renewals.Raw().Write("/v1/session/renew/"+s.id, nil, nil, a.write(ctx))
	})
	switch {
	case isStatus(err, http.StatusNotFound) && s.absent(ctx):
		return time.Time{}, s.Lost("its session is gone")
	case isStatus(err, http.StatusNotFound):
		return time.Time{}, unavailable(errLags)
	case err != nil:
		return time.Time{}, err
	case !s.Extend(sent, ttl):
		return time.Time{}, context.Cause(s.Life())
	}
	return sent.Add(ttl), nil
}

// end makes one attempt to destroy the session, and says whether it is gone.
func (s *session) end(ctx context.Context) bool { return s.b.destroy(ctx, s.id) == nil }

// destroy destroys a session, which succeeds as well if there is none.
func (b *Backend) destroy(ctx context.Context, id string) error {
	_, err := bounded(ctx, exchangeTimeout, func(ctx context.Context) (*api.WriteMeta, error) {
		return b.agent.renewals.Session().Destroy(id, b.agent.write(ctx))
	})
	return err
}

// suspect notes that a session may have been created whose ID nobody knows (C3).
func (b *Backend) suspect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orphans = true
}

// destroyOrphans destroys the sessions that have the Backend's name, all others
// of which have ended. What this misses expires, for nobody renews it.
func (b *Backend) destroyOrphans() {
	b.mu.Lock()
	orphans := b.orphans
	b.mu.Unlock()
	if !orphans {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.base), 2*time.Second)
	defer cancel()
	list, _, err := b.agent.renewals.Session().List(b.agent.query(ctx))
	if err != nil {
		return
	}
	for _, entry := range list {
		if entry.Name == b.name {
			_ = b.destroy(ctx, entry.ID) // else it expires
		}
	}
}
