// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package sessions is what adapters of stores with sessions have in common: how
// long a session lasts, which contenders hang on it, and whom to tell when it
// ends. The adapter makes the exchanges.
package sessions

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// maxTombstones is how many tombstones a session may have (G1a). A session with
// more takes no new locks, and ends with its last one.
const maxTombstones = 1000

// FirstPause is the pause after the first failure of something that is tried
// until it succeeds; it then doubles.
const FirstPause = 100 * time.Millisecond

// A Session is a client's side of what a store expires as a whole. It is safe
// for concurrent use.
type Session struct {
	life context.Context
	stop context.CancelCauseFunc
	base context.Context // ends with the backend

	hurry chan struct{} // wakes KeepAlive

	mu         sync.Mutex
	ttl        time.Duration
	until      time.Time // when the store may end it; zero: it is not open
	due        time.Time // of the next keep-alive
	told       bool      // the store said that it has ended, so holders are told
	gone       bool      // the store acknowledged its end: nothing of it is left
	tombstones int
	contenders map[string]*contender // by owner: all that may have something in the store
}

// A contender is what is remembered of one request.
type contender struct {
	lost       func(error)
	granted    bool
	unanswered bool // its enqueue may still be on its way (G1a)
	buried     bool // its tombstone was counted
}

// New returns a session that is not open yet. It ends with base at the latest.
func New(base context.Context) *Session {
	s := &Session{base: base, hurry: make(chan struct{}, 1), contenders: map[string]*contender{}}
	s.life, s.stop = context.WithCancelCause(base)
	return s
}

// Life returns a context that ends when the session must not be used any more.
// Its cause wraps ErrLost, unless base has ended or the session was not opened.
// From then on it is never renewed again (G5a).
func (s *Session) Life() context.Context { return s.life }

// Stop ends the life.
func (s *Session) Stop(cause error) { s.stop(cause) }

// TTL returns the TTL that the last Extend gave.
func (s *Session) TTL() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ttl
}

// Extend counts an acknowledged exchange that extends the session by ttl, from
// when it was sent (G2a). It returns false, and ends the life, if the session
// was dead before the answer came (G5a).
func (s *Session) Extend(sent time.Time, ttl time.Duration) bool {
	s.mu.Lock()
	alive := !s.late()
	if until := sent.Add(ttl); alive && until.After(s.until) {
		s.ttl, s.until = ttl, until
		// After the Client's own renewal, which comes at a third and resets this.
		s.due = sent.Add(ttl/3 + ttl/20)
	}
	s.mu.Unlock()
	if !alive {
		s.stop(lost("its session was renewed too late"))
	}
	return alive
}

// Expired says whether the session must not be used any more. One that has
// passed its deadline ends with this.
func (s *Session) Expired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over() != nil
}

// over returns why the session must not be used any more, nil if it may. It looks
// at the clock: a process that stood still has not noticed its deadline. s.mu is
// held.
func (s *Session) over() error {
	if s.late() {
		s.stop(lost("its session was not renewed in time"))
	}
	return context.Cause(s.life)
}

// late says whether the deadline has passed. s.mu is held.
func (s *Session) late() bool {
	return !s.until.IsZero() && !backend.Now().Before(s.until.Add(-backend.Margin(s.ttl)))
}

// Lost ends the life because the store said that the session has ended, and
// returns that as an error.
func (s *Session) Lost(why string) error {
	s.mu.Lock()
	s.told = s.told || s.life.Err() == nil
	s.mu.Unlock()
	err := lost(why)
	s.stop(err)
	return err
}

// Tell tells the holders of a session that the store has ended. Those of one
// that passed its deadline know by their own.
func (s *Session) Tell() {
	s.mu.Lock()
	var tell []func(error)
	for _, c := range s.contenders {
		if s.told && c.granted && c.lost != nil {
			tell = append(tell, c.lost)
		}
	}
	s.mu.Unlock()
	for _, told := range tell {
		told(context.Cause(s.life))
	}
}

// SetGone notes that the store has acknowledged the session's end: nothing of
// it is left.
func (s *Session) SetGone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

// Gone says whether the store has acknowledged the session's end.
func (s *Session) Gone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// Pause returns after d, or when ctx ends.
func Pause(ctx context.Context, d time.Duration) { PauseOr(ctx, d, nil) }

// PauseOr is a Pause that wake ends.
func PauseOr(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

func lost(why string) error { return fmt.Errorf("%w: %s", backend.ErrLost, why) }
