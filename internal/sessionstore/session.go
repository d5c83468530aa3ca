// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// maxExchange bounds each exchange that has no bound of its own.
const maxExchange = 5 * time.Second

// maxTombstones is how many tombstones a session may have. A session with more
// takes no new locks, and ends with its last one.
const maxTombstones = 1000

// A session is the client's side: one goroutine, which opens it, watches for
// its end, keeps it alive, and destroys it.
type session struct {
	id     string
	ttl    time.Duration
	link   *Link
	store  *Store
	opened chan struct{} // closed when err is set or the session is open
	err    error

	// life ends when the session must not be used any more; the cause wraps
	// ErrLost. It then is never renewed again (G5a).
	life context.Context
	stop context.CancelCauseFunc
	base context.Context // ends with Close

	mu         sync.Mutex
	until      time.Time // when the store may end it: of the last renewal's sending, + TTL (G2a)
	due        time.Time // of the next keep-alive
	gone       bool      // the store said so
	tombstones int
	holds      map[string]*backend.Grant // by owner: all that may have a key
}

func newSession(b *Backend, id string, ttl time.Duration) *session {
	s := &session{
		id: id, ttl: ttl, link: b.Link, store: b.store,
		opened: make(chan struct{}), holds: map[string]*backend.Grant{}, base: b.ctx,
	}
	s.life, s.stop = context.WithCancelCause(b.ctx)
	return s
}

func (s *session) run() {
	s.open()
	if s.err != nil {
		s.end(s.base) // perhaps it was opened; if this fails too it expires, empty
		return
	}
	for s.life.Err() == nil {
		s.watch()
		s.keepAlive()
	}
	s.tell(context.Cause(s.life))
	s.destroy()
}

func (s *session) open() {
	defer close(s.opened)
	ctx, cancel := context.WithTimeout(s.life, maxExchange)
	defer cancel()
	sent := backend.Now()
	if _, err := send(ctx, s, CreateSession, nil, func(context.Context) (struct{}, error) {
		s.store.createSession(s.id, s.ttl)
		return struct{}{}, nil
	}); err != nil {
		s.err = fmt.Errorf("open a session: %w", err)
		s.stop(s.err)
		return
	}
	s.extend(sent)
}

// watch returns when the session has ended or a keep-alive is due.
func (s *session) watch() {
	s.mu.Lock()
	left := min(s.due.Sub(backend.Now()), s.until.Add(-backend.Margin(s.ttl)).Sub(backend.Now()))
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.life, left)
	defer cancel()
	_, err := send(ctx, s, WatchSession, nil, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.store.waitEnded(ctx, s.id)
	})
	if err == nil {
		_ = s.lost()
		return
	}
	<-ctx.Done()
}

// keepAlive renews the session if that is due. It leaves time for another try.
func (s *session) keepAlive() {
	s.mu.Lock()
	now := backend.Now()
	left, due := s.until.Sub(now), !now.Before(s.due)
	s.mu.Unlock()
	if left <= backend.Margin(s.ttl) {
		s.stop(fmt.Errorf("%w: the session was not renewed in time", backend.ErrLost))
	}
	if !due || s.life.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(s.life, min(max(s.ttl/6, 500*time.Millisecond), maxExchange, left/2))
	defer cancel()
	if _, _, err := s.renew(ctx, nil); err != nil {
		s.mu.Lock()
		s.due = backend.Now().Add(s.ttl / 20)
		s.mu.Unlock()
	}
}

// renew extends the session and returns until when, and which grants still
// have their key.
func (s *session) renew(ctx context.Context, grants []*backend.Grant) ([]bool, time.Time, error) {
	sent := backend.Now()
	if s.life.Err() != nil {
		return nil, time.Time{}, context.Cause(s.life)
	}
	alive, err := send(ctx, s, RenewSession, nil, func(context.Context) ([]bool, error) {
		return s.store.renew(s.id, grants)
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if !s.extend(sent) {
		s.stop(fmt.Errorf("%w: the session was renewed too late", backend.ErrLost))
		return nil, time.Time{}, context.Cause(s.life)
	}
	return alive, sent.Add(s.ttl), nil
}

// extend counts an acknowledged exchange, unless the session was dead before
// the reply came. The next keep-alive is due after half of the TTL: the Client,
// where it holds locks, renews after a third, and the session with them.
func (s *session) extend(sent time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.until.IsZero() && !backend.Now().Before(s.until.Add(-backend.Margin(s.ttl))) {
		return false
	}
	if until := sent.Add(s.ttl); until.After(s.until) {
		s.until, s.due = until, sent.Add(s.ttl/2)
	}
	return true
}

// lost records that the store said that the session has ended.
func (s *session) lost() error {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	err := fmt.Errorf("%w: the session ended", backend.ErrLost)
	s.stop(err)
	return err
}

// tell tells the holders of a session that the store ended. Those of one that
// passed its deadline know by their own.
func (s *session) tell(cause error) {
	s.mu.Lock()
	var tell []func(error)
	for _, g := range s.holds {
		if s.gone && g.Lost != nil && g.Sys.(*hold).granted {
			tell = append(tell, g.Lost)
		}
	}
	s.mu.Unlock()
	for _, lost := range tell {
		lost(cause)
	}
}

// destroy ends the session in the store, however long that takes; after Close
// it makes one more attempt.
func (s *session) destroy() {
	for wait := 100 * time.Millisecond; s.base.Err() == nil && !s.end(s.base); wait = min(2*wait, s.ttl/3) {
		pause(s.base, wait)
	}
	s.end(context.WithoutCancel(s.base))
}

// end makes one attempt to end the session, and says whether it is gone.
func (s *session) end(ctx context.Context) bool {
	if s.isGone() {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := send(ctx, s, EndSession, nil, func(context.Context) (struct{}, error) {
		s.store.endSession(s.id)
		return struct{}{}, nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = s.gone || err == nil
	return s.gone
}

func (s *session) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// send is exchange, for a session: it learns from a reply that it ended.
func send[T any](ctx context.Context, s *session, kind Kind, g *backend.Grant, apply func(context.Context) (T, error)) (T, error) {
	m := Message{Kind: kind}
	if g != nil {
		m.Name, m.Owner = g.Name, g.Owner
	}
	reply, err := exchange(ctx, s.link, m, apply)
	if errors.Is(err, errNoSession) {
		err = s.lost()
	}
	return reply, err
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) { Fate{Delay: d}.pass(ctx) }
