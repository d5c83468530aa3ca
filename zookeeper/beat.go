// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

// beats are the heartbeats of a session. The session's mutex guards them.
type beats struct {
	next    *beat
	wanted  bool      // somebody waits for the next one
	due     time.Time // of the next one if nobody does
	history []pulse   // those on the present connection, from the one that counts on
}

// A pulse is a heartbeat with an answer.
type pulse struct{ sent, answered time.Time }

// A beat is one heartbeat.
type beat struct {
	done  chan struct{} // closed when what follows is set
	until time.Time     // of the session
	err   error
}

func newBeat() *beat { return &beat{done: make(chan struct{})} }

// interval is the time between two heartbeats that nobody asked for. The Client
// asks, while it holds a lock, every sixth of the TTL, and so comes first.
func (s *session) interval() time.Duration { return s.ttl/6 + s.ttl/20 }

// keepAlive waits until a heartbeat is to be sent, sends it, and stops a session
// that has passed its deadline.
func (s *session) keepAlive() {
	if s.ended() {
		return
	}
	if wait := s.rest(); wait > 0 {
		sessions.PauseOr(s.life, wait, s.asked)
		return
	}
	s.beat()
}

// rest is how long there is nothing to do.
func (s *session) rest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, at := backend.Now(), s.beats.due
	if s.beats.wanted {
		at = now
	}
	return min(at.Sub(now), s.until.Add(-backend.Margin(s.ttl)).Sub(now))
}

// renew returns until when the session surely lasts, as of a heartbeat that
// begins after the call.
func (s *session) renew(ctx context.Context) (time.Time, error) {
	if s.ended() {
		return time.Time{}, context.Cause(s.life)
	}
	b := s.nextBeat()
	select {
	case <-b.done:
		return b.until, b.err
	case <-s.life.Done():
		return time.Time{}, context.Cause(s.life)
	case <-ctx.Done():
		return time.Time{}, s.silent(context.Cause(ctx))
	}
}

// nextBeat has a heartbeat sent, and returns it.
func (s *session) nextBeat() *beat {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats.wanted = true
	select {
	case s.asked <- struct{}{}:
	default:
	}
	return s.beats.next
}

// beat sends a heartbeat, and leaves time for another. A server that does not
// answer is given up for the next. It waits for a connection, since a heartbeat
// counts only if it was sent and answered on the same one.
func (s *session) beat() {
	waiting, cancel := context.WithTimeout(s.life, s.within())
	used, err := s.wire.connected(waiting)
	cancel()
	s.mu.Lock()
	b, connection := s.beats.next, s.connections
	s.beats.next, s.beats.wanted = newBeat(), false
	s.mu.Unlock()
	defer close(b.done)

	if err != nil {
		b.err = s.silent(err)
	} else {
		b.until, b.err = s.exchange(used, connection)
	}
	if b.err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.beats.due = backend.Now().Add(s.ttl / 60)
	}
}

// within is how long a heartbeat may take that begins now, and its connection.
func (s *session) within() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(s.step(), s.until.Sub(backend.Now())/2)
}

// exchange makes a heartbeat's request, and returns until when the session lasts.
func (s *session) exchange(used *link, connection int) (time.Time, error) {
	within := s.within()
	ctx, cancel := context.WithTimeout(s.life, within)
	defer cancel()
	sent := backend.Now()
	err := s.commit(ctx)
	switch {
	case err == nil:
		return s.beaten(sent, connection)
	case s.life.Err() == nil && ctx.Err() != nil:
		s.wire.drop(used, fmt.Errorf("a heartbeat was not answered within %v", within.Round(time.Millisecond)))
	}
	return time.Time{}, err
}

// commit has a quorum of the servers commit that nothing changes: the deletion of
// a node that does not exist. It fails, and is ordered and committed like any
// other write. No read, no ping and no sync does that: a server that was cut off
// from its leader answers those (Z1).
func (s *session) commit(ctx context.Context) error {
	err := order(ctx, s, func(c *zk.Conn) error { return c.Delete(s.b.paths.never(), -1) })
	if errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNoAuth) {
		return nil
	}
	return err
}

// beaten counts a heartbeat with an answer, unless the session was dead before
// that came (G5a). It returns until when the session lasts.
func (s *session) beaten(sent time.Time, connection int) (time.Time, error) {
	s.wire.works()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := backend.Now()
	if !now.Before(s.until.Add(-backend.Margin(s.ttl))) {
		err := lost("its session was renewed too late")
		s.stop(err)
		return time.Time{}, err
	}
	if connection == s.connections {
		s.beats.history = append(s.beats.history, pulse{sent, now})
		if until := s.proven().Add(s.ttl); until.After(s.until) {
			s.until = until
		}
	}
	s.beats.due = sent.Add(s.interval())
	if s.until.Sub(now) < s.ttl/2 { // answers are slow: more of them prove more
		s.beats.due = sent.Add(s.b.tick / 4)
	}
	return s.until, nil
}

// proven returns the send time of the latest exchange of which the leader surely
// knows, after a heartbeat was answered. The mutex is held.
//
// It hears of a heartbeat with the answer to its next ping to the server that
// took it, and not at all if that server dies before (Z2). So a heartbeat counts
// from the second one after it. Pings go out every half tick: one of them between
// this heartbeat and the next, if that is sent so much later. The server answers
// it before it passes the next one's commit on; and by that same stream the third
// one, sent after that, comes to the leader.
//
// The handshake of the connection counts from the first heartbeat on: at that the
// server asked the leader whether the session lives.
func (s *session) proven() time.Time {
	proven, history := s.handshake.sent, s.beats.history
	if last := len(history) - 1; last >= 2 {
		pinged, first := history[last-1].sent.Add(-s.b.tick/2), 0
		for i, p := range history[:last-1] {
			if !p.answered.After(pinged) {
				proven, first = p.sent, i
			}
		}
		s.beats.history = slices.Delete(history, 0, first)
	}
	return proven
}
