// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/golocker/locker/backend"
)

// A fake is the server's side of a session, and answers what the test wants.
type fake struct {
	t testing.TB
	*pgproto3.Backend
	conn net.Conn
}

// startSession returns a session and the server that it talks to.
func startSession(t testing.TB, ttl time.Duration) (*session, *fake) {
	t.Helper()
	client, server := net.Pipe()
	s := newSession(&pgconn.HijackedConn{Conn: client, Frontend: pgproto3.NewFrontend(client, client), PID: 7}, ttl, backend.Now(), func(*session) {})
	s.start(func(f func()) bool { go f(); return true })
	t.Cleanup(func() { s.fail(errClosed, false); server.Close() })
	return s, &fake{t, pgproto3.NewBackend(server, server), server}
}

// receive returns the next message.
func (f *fake) receive() pgproto3.FrontendMessage {
	f.t.Helper()
	if err := f.conn.SetReadDeadline(backend.Now().Add(30 * time.Second)); err != nil {
		f.t.Error(err)
	}
	msg, err := f.Receive()
	if err != nil {
		f.t.Errorf("the session sends nothing: %v", err)
		return nil
	}
	return msg
}

// statement returns the next prepared statement, which must have a Sync of its own.
func (f *fake) statement() string {
	f.t.Helper()
	bind, ok := f.receive().(*pgproto3.Bind)
	if !ok {
		f.t.Error("want Bind")
		return ""
	}
	name := bind.PreparedStatement
	if _, ok := f.receive().(*pgproto3.Execute); !ok {
		f.t.Errorf("%s: want Execute after Bind", name)
	}
	if _, ok := f.receive().(*pgproto3.Sync); !ok {
		f.t.Errorf("%s: want Sync after Execute", name)
	}
	return name
}

func (f *fake) answer(value string) {
	f.Send(&pgproto3.BindComplete{})
	f.Send(&pgproto3.DataRow{Values: [][]byte{[]byte(value)}})
	f.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
	f.ready()
}

func (f *fake) refuse(severity, code string) {
	f.Send(&pgproto3.ErrorResponse{Severity: severity, SeverityUnlocalized: severity, Code: code, Message: "no"})
	if severity == "ERROR" {
		f.ready()
		return
	}
	if err := f.Flush(); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) ready() {
	f.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := f.Flush(); err != nil {
		f.t.Error(err)
	}
}

// enqueueAll runs ops so that all but the first are one batch.
func enqueueAll(s *session, f *fake, n int) []*op {
	first := prepared("first")
	s.enqueue(first)
	f.statement()
	ops := make([]*op, n)
	for i := range ops {
		ops[i] = prepared(fmt.Sprint("op", i), int64(i))
		s.enqueue(ops[i])
	}
	f.answer("t")
	return ops
}

// An error of one statement of a batch leaves the others alone: each has a Sync.
func TestHazard_P6_OneSyncForEachStatement(t *testing.T) {
	s, f := startSession(t, time.Minute)
	ops := enqueueAll(s, f, 3)
	for i := range ops {
		if name := f.statement(); name != fmt.Sprint("op", i) {
			t.Errorf("statement %d is %s", i, name)
		}
	}
	f.answer("1")
	f.refuse("ERROR", "XX000")
	f.answer("3")
	for i, o := range ops {
		err := s.await(t.Context(), o)
		switch {
		case i == 1 && codeOf(err) != "XX000":
			t.Errorf("the statement that failed: %v", err)
		case i != 1 && (err != nil || *o.rows[0][0] != fmt.Sprint(i+1)):
			t.Errorf("statement %d: %v %v", i, o.rows, err)
		}
	}
}

// More statements than a batch has go out when the batch is answered.
func TestHazard_P7_BatchesAreBounded(t *testing.T) {
	s, f := startSession(t, time.Minute)
	ops := enqueueAll(s, f, batchSize+1)
	for range batchSize {
		f.statement()
	}
	s.mu.Lock()
	flight, queue := len(s.flight), len(s.queue)
	s.mu.Unlock()
	if flight != batchSize || queue != 1 {
		t.Errorf("%d statements are under way and %d wait, want %d and 1", flight, queue, batchSize)
	}
	for range batchSize {
		f.answer("t")
	}
	f.statement()
	f.answer("t")
	for _, o := range ops {
		if err := s.await(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// An answer that comes past the session's deadline extends nothing.
func TestHazard_G5a_LateAnswer(t *testing.T) {
	s, f := startSession(t, time.Second)
	s.mu.Lock()
	s.timer.Stop() // as if the machine had slept
	s.mu.Unlock()
	o := prepared("late")
	s.enqueue(o)
	f.statement()
	<-time.After(800 * time.Millisecond)
	f.answer("t")
	if err := s.await(t.Context(), o); !errors.Is(err, errGivenUp) {
		t.Fatalf("a statement that was answered past the deadline: %v, want %v", err, errGivenUp)
	}
	<-s.ended
}

// Nothing is sent on a session past its deadline.
func TestHazard_G5a_LateRequest(t *testing.T) {
	s, f := startSession(t, time.Second)
	s.mu.Lock()
	s.timer.Stop()
	s.mu.Unlock()
	<-time.After(800 * time.Millisecond)
	o := prepared("late")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.do(ctx, o); !errors.Is(err, errGivenUp) || !o.unsent {
		t.Fatalf("a statement past the deadline: %v, unsent %v", err, o.unsent)
	}
	if msg, err := f.Receive(); err == nil {
		t.Errorf("the session sent %T", msg)
	}
}

// A session ends at its deadline, and is kept alive until the answers fail.
func TestSessionKeepsItselfAlive(t *testing.T) {
	const ttl = time.Second
	s, f := startSession(t, ttl)
	start := backend.Now()
	pings := 0
	for pings < 3 {
		if _, ok := f.receive().(*pgproto3.Query); !ok {
			t.Fatal("want an empty query")
		}
		pings++
		f.Send(&pgproto3.EmptyQueryResponse{})
		f.ready()
	}
	if lived := backend.Now().Sub(start); lived < ttl {
		t.Errorf("three pings within %v", lived)
	}
	answered := backend.Now()
	f.receive() // and no answer
	<-s.ended
	if err, said := s.end(); !errors.Is(err, errGivenUp) || said {
		t.Errorf("the session ended with %v, %v", err, said)
	}
	if late := backend.Now().Sub(answered.Add(ttl)); late > 0 {
		t.Errorf("the session ended %v after its deadline", late)
	}
}

// A statement that blocks has no deadline.
func TestBlockingStatementHasNoDeadline(t *testing.T) {
	s, f := startSession(t, time.Second)
	o := newWaitOp(1)
	s.enqueue(o)
	f.statement()
	<-time.After(1500 * time.Millisecond)
	f.answer("")
	if err := s.await(t.Context(), o); err != nil {
		t.Error(err)
	}
}

func TestAbandonedStatements(t *testing.T) {
	s, f := startSession(t, time.Minute)
	sent, unsent := prepared("sent"), prepared("unsent")
	s.enqueue(sent)
	f.statement()
	s.enqueue(unsent)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.await(over, sent); !errors.Is(err, backend.ErrUnavailable) || sent.unsent {
		t.Errorf("abandoned under way: %v, unsent %v", err, sent.unsent)
	}
	if err := s.await(over, unsent); !errors.Is(err, backend.ErrUnavailable) || !unsent.unsent {
		t.Errorf("abandoned in the queue: %v, unsent %v", err, unsent.unsent)
	}
	f.answer("t")
	if err := s.await(t.Context(), sent); err != nil || len(sent.rows) != 1 {
		t.Errorf("the late answer: %v %v", sent.rows, err)
	}
	next := prepared("next")
	s.enqueue(next)
	if name := f.statement(); name != "next" {
		t.Errorf("the session sent %q, want next", name)
	}
}

// The server's last word is the reason of the loss.
func TestServerEndsTheSession(t *testing.T) {
	s, f := startSession(t, time.Minute)
	o := prepared("x")
	s.enqueue(o)
	f.statement()
	f.refuse("FATAL", codeAdminShutdown)
	f.conn.Close()
	if err := s.await(t.Context(), o); !errors.Is(err, backend.ErrLost) || codeOf(err) != codeAdminShutdown {
		t.Errorf("the statement under way: %v, want ErrLost and the server's word", err)
	}
	if _, said := s.end(); !said {
		t.Error("the server said so")
	}
}

func TestConnectionEnds(t *testing.T) {
	s, f := startSession(t, time.Minute)
	o := prepared("x")
	s.enqueue(o)
	f.statement()
	f.conn.Close()
	if err := s.await(t.Context(), o); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrLost) || o.unsent {
		t.Errorf("the statement under way: %v, want ErrUnavailable: its fate is not known", err)
	}
	after := prepared("y")
	if err := s.do(t.Context(), after); err == nil || !after.unsent {
		t.Errorf("a statement after the end: %v, unsent %v", err, after.unsent)
	}
}

var (
	bindComplete = &pgproto3.BindComplete{}
	nullRow      = &pgproto3.DataRow{Values: [][]byte{nil}}
	oneRow       = &pgproto3.DataRow{Values: [][]byte{[]byte("1")}}
)
