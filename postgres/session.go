// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/golocker/locker/backend"
)

// batchSize bounds the statements of one flush: their answers fit into the
// buffers of a socket, so that the server of a client that is paused is idle,
// and its idle timer runs (P7).
const batchSize = 256

// unixBatchSize is that of a Unix socket, where Linux takes a buffer for each
// write of the server, and has room for 279 rows or 140 errors; others have
// 8 KiB.
const unixBatchSize = 32

// A session is one connection, its lease, and what it holds. Statements that
// come while a batch is under way make up the next batch, each with a Sync of
// its own, so that an error of one leaves the others alone (P6).
//
// A reader waits at all times, so the end of the connection is noticed at once;
// no context ever reaches the connection. It is safe for concurrent use.
type session struct {
	conn    net.Conn
	in, out *pgproto3.Frontend // of the reader, of the writer
	most    int                // statements of one flush
	pid     uint32
	started string // with pid: which session it is, among all that ever were
	ttl     time.Duration
	grace   time.Time // no lock is granted before (P4)

	woken chan struct{} // holds one: the writer has something to do
	ended chan struct{} // closed after err is set

	mu     sync.Mutex
	queue  []*op // not sent
	flight []*op // sent, in this order
	until  time.Time
	used   time.Time // when the last batch was sent
	spare  bool      // it is kept for the next waiter, and closed if none comes
	err    error     // why it ended
	said   bool      // the server said that it ended
	timer  *time.Timer
	onEnd  func(*session)

	// guarded by Backend.mu
	holds  map[*hold]struct{}
	slot   bool // it counts as one that waits
	buried bool // it has surely ended in the server
}

// An op is one statement of a session. Its results may be read once done is
// closed.
type op struct {
	statement string  // a prepared one, with args
	sql       string  // else this text
	args      []int64 // of a prepared statement
	blocks    bool    // it may take hours: no deadline runs meanwhile

	sent   time.Time // of its batch
	rows   [][]*string
	err    error // a *pgconn.PgError, or why the session ended
	unsent bool  // surely never executed
	done   chan struct{}
}

// value returns what a statement with one row and one column answered; nil if it
// answered NULL, or otherwise.
func (o *op) value() *string {
	if len(o.rows) != 1 || len(o.rows[0]) != 1 {
		return nil
	}
	return o.rows[0][0]
}

func query(sql string) *op { return &op{sql: sql, done: make(chan struct{})} }

func prepared(statement string, args ...int64) *op {
	return &op{statement: statement, args: args, done: make(chan struct{})}
}

// ping is an exchange that does nothing but extend the session.
func ping() *op { return query("") }

// newSession takes a connection over that is set up. sent is when its last
// statement was sent. onEnd is called once, when the session has ended.
func newSession(c *pgconn.HijackedConn, ttl time.Duration, sent time.Time, onEnd func(*session)) *session {
	most := batchSize
	if c.Conn.RemoteAddr().Network() == "unix" {
		most = unixBatchSize
	}
	return &session{
		conn: c.Conn, in: c.Frontend, out: pgproto3.NewFrontend(nil, c.Conn), most: most,
		pid: c.PID, ttl: ttl, until: sent.Add(ttl), used: sent,
		woken: make(chan struct{}, 1), ended: make(chan struct{}),
		holds: map[*hold]struct{}{}, onEnd: onEnd,
	}
}

// start starts the session's goroutines, which end with it.
func (s *session) start(spawn func(func()) bool) {
	s.mu.Lock()
	s.timer = time.AfterFunc(s.pace(backend.Now()), s.tick)
	s.mu.Unlock()
	if !spawn(s.read) || !spawn(s.write) {
		s.fail(errClosed, false)
	}
}

// do runs an op. If ctx ends first the op goes on, and its outcome is in it
// once done is closed; unless it was not sent yet: it is then unsent.
func (s *session) do(ctx context.Context, o *op) error {
	s.enqueue(o)
	return s.await(ctx, o)
}

func (s *session) await(ctx context.Context, o *op) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, queued := range s.queue {
		if queued == o {
			s.queue = append(s.queue[:i:i], s.queue[i+1:]...)
			o.unsent, o.err = true, unavailable(ctx.Err())
			close(o.done)
			return o.err
		}
	}
	select {
	case <-o.done:
		return o.err
	default:
		return unavailable(context.Cause(ctx))
	}
}

func (s *session) enqueue(o *op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		o.unsent, o.err = true, s.err
		close(o.done)
		return
	}
	s.queue = append(s.queue, o)
	s.wake()
}

func (s *session) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// write sends batches, the next one when the last is answered.
func (s *session) write() {
	for {
		select {
		case <-s.ended:
			return
		case <-s.woken:
		}
		batch, late := s.batch()
		if late {
			s.fail(errGivenUp, false)
			return
		}
		for _, o := range batch {
			s.send(o)
		}
		if err := s.out.Flush(); err != nil {
			s.fail(unavailable(err), false)
			return
		}
	}
}

// batch moves the next statements from the queue into flight. It returns late
// if the session's deadline has passed: it is then never used again (G5a).
func (s *session) batch() (ops []*op, late bool) {
	now := backend.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) > 0 || len(s.queue) == 0 {
		return nil, false
	}
	if s.expired(now) {
		return nil, true
	}
	n := min(len(s.queue), s.most)
	s.flight = append(s.flight, s.queue[:n]...)
	s.queue = append([]*op(nil), s.queue[n:]...)
	s.used = now
	for _, o := range s.flight {
		o.sent = now
	}
	return append([]*op(nil), s.flight...), false
}

func (s *session) send(o *op) {
	if o.statement == "" {
		s.out.SendQuery(&pgproto3.Query{String: o.sql})
		return
	}
	bind := &pgproto3.Bind{PreparedStatement: o.statement}
	for _, arg := range o.args {
		bind.ParameterFormatCodes = []int16{pgproto3.BinaryFormat}
		bind.Parameters = append(bind.Parameters, binary.BigEndian.AppendUint64(nil, uint64(arg)))
	}
	s.out.SendBind(bind)
	s.out.SendExecute(&pgproto3.Execute{})
	s.out.SendSync(&pgproto3.Sync{})
}

// read takes the answers, until the connection ends.
func (s *session) read() {
	var fatal error // what the server said last, if it was the end
	for {
		msg, err := s.in.Receive()
		if err != nil {
			if fatal != nil {
				s.fail(fatal, true)
			} else {
				s.fail(unavailable(fmt.Errorf("the connection ended: %w", err)), false)
			}
			return
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			s.row(msg.Values)
		case *pgproto3.ErrorResponse:
			e := pgconn.ErrorResponseToPgError(msg)
			if e.SeverityUnlocalized == "FATAL" || e.SeverityUnlocalized == "PANIC" {
				fatal = fmt.Errorf("%w: the server ended the session: %w", backend.ErrLost, e)
				continue
			}
			s.failed(e)
		case *pgproto3.ReadyForQuery:
			if late := s.completed(); late {
				s.fail(errGivenUp, false)
				return
			}
		}
	}
}

func (s *session) row(values [][]byte) {
	row := make([]*string, len(values))
	for i, v := range values {
		if v != nil {
			text := string(v)
			row[i] = &text
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) > 0 {
		s.flight[0].rows = append(s.flight[0].rows, row)
	}
}

func (s *session) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) > 0 && s.flight[0].err == nil {
		s.flight[0].err = err
	}
}

// completed ends the first op in flight. A completed statement extends the
// session: the server's idle timer starts anew when it has finished one. It
// returns late if the session's deadline had passed before the answer came: what
// was held may have been told lost, and must not live on (G5a).
func (s *session) completed() (late bool) {
	now := backend.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flight) == 0 {
		return false
	}
	if s.expired(now) {
		return true
	}
	o := s.flight[0]
	s.flight = s.flight[1:]
	if o.blocks {
		// When it was granted is not known (G2b); no grant is dated by this.
		s.until = now.Add(s.ttl)
	} else if until := o.sent.Add(s.ttl); until.After(s.until) {
		s.until = until
	}
	close(o.done)
	if len(s.flight) == 0 && len(s.queue) > 0 {
		s.wake()
	}
	return false
}

// fail ends the session, once. said: the server itself said so. The grants of
// a session that ended otherwise than by its own deadline or Close are told.
func (s *session) fail(err error, said bool) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err, s.said = err, said
	if s.timer != nil {
		s.timer.Stop()
	}
	for _, o := range s.flight {
		o.err = err
		close(o.done)
	}
	for _, o := range s.queue {
		o.err, o.unsent = err, true
		close(o.done)
	}
	s.flight, s.queue = nil, nil
	close(s.ended)
	s.mu.Unlock()
	s.onEnd(s)
	_ = s.conn.Close() // it may take its time, with TLS; the first error is the one to tell
}

func (s *session) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil
}

// end returns why the session ended, nil while it lives.
func (s *session) end() (err error, said bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err, s.said
}
