// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

// A session is one of ZooKeeper's, and what hangs on it. It has a driver's Conn
// of its own, since the driver would begin a new session in the place of one that
// has ended (Z3). One goroutine opens it, keeps it alive and ends it.
type session struct {
	b      *Backend
	ttl    time.Duration
	wire   *wire
	conn   *zk.Conn
	opened chan struct{} // closed when err is set or the session is open
	err    error
	over   chan struct{} // closed when the session surely is no more, nor any node of it

	// life ends when the session must not be used any more; the cause wraps
	// ErrLost unless the Backend was closed. It then is never renewed again.
	life context.Context
	stop context.CancelCauseFunc

	attach chan struct{}  // closed at the first handshake
	asked  chan struct{}  // a heartbeat is wanted
	calls  sync.WaitGroup // requests under way

	mu          sync.Mutex
	handshake   handshake // of the present connection
	connections int
	beats       beats
	until       time.Time                 // when the servers may end it
	told        bool                      // it ends before its deadline, so holders are told
	destroying  bool                      // takes no more requests
	holds       map[string]*backend.Grant // by owner: all that may have a node
	nodes       map[string]*backend.Grant // by path: all that are known to
	watches     map[string]*watch         // by path
	creating    map[string]chan struct{}  // by path: closed when the request is sent
}

func newSession(b *Backend, ttl time.Duration) *session {
	s := &session{
		b: b, ttl: ceilMillisecond(ttl),
		opened: make(chan struct{}), over: make(chan struct{}), attach: make(chan struct{}), asked: make(chan struct{}, 1),
		beats: beats{next: newBeat()},
		holds: map[string]*backend.Grant{}, nodes: map[string]*backend.Grant{}, watches: map[string]*watch{},
		creating: map[string]chan struct{}{},
	}
	s.life, s.stop = context.WithCancelCause(b.base)
	s.wire = newWire(b.servers, b.dialer, s.step())
	s.wire.attached, s.wire.expired, s.wire.watching, s.wire.creating = s.attached, s.expired, s.watching, s.created
	return s
}

// step is how long a connection, a handshake or a heartbeat may take once the
// session is open: a server that needs longer is given up for another.
func (s *session) step() time.Duration {
	return min(max(s.ttl/6, time.Second), 5*time.Second)
}

func (s *session) run() {
	s.err = s.open()
	close(s.opened)
	if s.err != nil {
		s.stop(s.err)
	}
	for s.life.Err() == nil {
		s.keepAlive()
	}
	s.tell()
	s.destroy()
}

func (s *session) open() (err error) {
	s.conn, _, err = zk.Connect(s.wire.servers, s.ttl, zk.WithHostProvider(s.wire), zk.WithDialer(s.wire.dial),
		zk.WithEventCallback(s.event), zk.WithLogger(driverLog{s.b.log}), zk.WithLogInfo(false))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.life, patience)
	defer cancel()
	select {
	case <-s.attach:
	case <-ctx.Done():
		return fmt.Errorf("open a session: %w", s.silent(context.Cause(ctx)))
	}
	if granted := s.negotiated(); granted != s.ttl {
		return fmt.Errorf("the servers grant a session timeout of %v, not the TTL of %v: set the TTL to that, or change their minSessionTimeout or maxSessionTimeout", granted, s.ttl)
	}
	return s.authenticate(ctx)
}

func (s *session) authenticate(ctx context.Context) error {
	if s.b.user == "" {
		return nil
	}
	for {
		err := s.tryAuthenticate(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, backend.ErrUnavailable) {
			return err
		}
		pause(ctx, firstPause)
	}
}

// tryAuthenticate leaves a server that does not answer for the next: there are no
// heartbeats yet that would.
func (s *session) tryAuthenticate(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, s.step())
	defer cancel()
	used, err := s.wire.connected(within)
	if err != nil {
		return s.silent(err)
	}
	err = order(within, s, func(c *zk.Conn) error {
		return c.AddAuth("digest", []byte(s.b.user+":"+s.b.password.Reveal()))
	})
	if within.Err() != nil {
		s.wire.drop(used, fmt.Errorf("the user was not authenticated within %v", s.step()))
	}
	return err
}

// attached is called at each handshake by which a server has taken the session
// over, before anything else passes the connection.
func (s *session) attached(h handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections++
	s.handshake = h
	s.beats.history = nil
	switch {
	case s.connections == 1:
		s.until, s.beats.due = h.sent.Add(s.ttl), h.sent.Add(s.interval())
		close(s.attach)
	case h.timeout < s.ttl:
		s.told = s.told || s.life.Err() == nil // to end it frees what is held
		s.stop(lost(fmt.Sprintf("another server grants a session timeout of %v only", h.timeout)))
	}
}

// expired is called when a server said at a handshake that the session is over.
func (s *session) expired() {
	_ = s.lost("its session has expired")
	s.finish()
}

func (s *session) negotiated() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handshake.timeout
}

// ended says whether the session must not be used any more. One that has passed
// its deadline ends with this (G5a).
func (s *session) ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending() != nil
}

// ending returns why the session must not be used any more, nil if it may. It
// looks at the clock: a process that stood still has not noticed its deadline.
// The mutex is held.
func (s *session) ending() error {
	if !s.until.IsZero() && !backend.Now().Before(s.until.Add(-backend.Margin(s.ttl))) {
		s.stop(lost("its session was not renewed in time"))
	}
	return context.Cause(s.life)
}

// during returns a context that also ends with the session, and has its cause.
func (s *session) during(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// lost stops the session because a server said that it has ended.
func (s *session) lost(why string) error {
	s.mu.Lock()
	s.told = s.told || s.life.Err() == nil
	s.mu.Unlock()
	err := lost(why)
	s.stop(err)
	return err
}

// tell tells the holders of a session that ends before its deadline. Those of one
// that passed it know by their own.
func (s *session) tell() {
	s.mu.Lock()
	var tell []func(error)
	for _, g := range s.holds {
		if h := g.Sys.(*hold); s.told && h.granted && !h.released && g.Lost != nil {
			tell = append(tell, g.Lost)
		}
	}
	s.mu.Unlock()
	for _, told := range tell {
		told(context.Cause(s.life))
	}
}

// destroy ends the session, as sessions.Persist does.
func (s *session) destroy() {
	s.mu.Lock()
	s.destroying = true
	s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close() // it asks the server to end the session, if it has one
	}
	s.wire.hangUp()
	s.calls.Wait()
	sessions.Persist(s.b.base, s.ttl, s.end)
}

// end makes one attempt to end the session, and says whether it is no more.
func (s *session) end(ctx context.Context) bool {
	s.mu.Lock()
	h := s.handshake
	s.mu.Unlock()
	if h.session == 0 || s.isOver() { // if a server opened one without our hearing of it, it expires, empty
		return true
	}
	if err := s.wire.end(ctx, h); err != nil {
		return false
	}
	s.finish()
	return true
}

func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isOver() {
		close(s.over)
	}
}

func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// answered passes an answer's error on, and learns from it that the session has
// ended.
func (s *session) answered(err error) error {
	if errors.Is(err, zk.ErrSessionExpired) {
		return s.lost("its session has expired")
	}
	err = classify(err)
	if reason := s.wire.reason(); reason != nil && errors.Is(err, backend.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", err, reason)
	}
	return err
}

// silent is the error of a request without an answer: why there is no connection,
// if that is known.
func (s *session) silent(cause error) error {
	if reason := s.wire.reason(); reason != nil {
		cause = reason
	}
	return unavailable(cause)
}

// because prefers the end of the session to what came of it.
func (s *session) because(err error) error {
	if s.life.Err() != nil && errors.Is(err, backend.ErrUnavailable) {
		return context.Cause(s.life)
	}
	return err
}

// driverLog takes what the driver has to say, all of which the adapter knows.
type driverLog struct{ *slog.Logger }

func (l driverLog) Printf(format string, args ...any) { l.Debug(fmt.Sprintf(format, args...)) }

func ceilMillisecond(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}
