// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/golocker/locker/backend"
)

// waitedHold returns what a request has that waited, on a session with a fake
// server.
func waitedHold(t *testing.T) (*Backend, *hold, *fake) {
	t.Helper()
	b, err := newBackend(nil, func(context.Context) (*pgconn.PgConn, error) { return nil, errors.New("no server") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	s, f := startSession(t, time.Minute)
	h := newHold(&caller{key: 5}, s)
	h.waited, h.state = true, held
	return b, h, f
}

// in runs a call that a fake server answers meanwhile.
func in(f func() error) <-chan error {
	out := make(chan error, 1)
	go func() { out <- f() }()
	return out
}

// A cancel request that was meant for the wait may hit the statement after it.
func TestHazard_P1_StrayCancel(t *testing.T) {
	b, h, f := waitedHold(t)
	drawn := in(func() error { _, err := b.drawToken(t.Context(), h); return err })
	for _, answer := range []func(){func() { f.refuse("ERROR", codeCancelled) }, func() { f.answer("7") }} {
		if name := f.statement(); name != tokenStatement {
			t.Fatalf("the session sent %q, want %q", name, tokenStatement)
		}
		answer()
	}
	if err := <-drawn; err != nil {
		t.Errorf("the token: %v", err)
	}

	released := in(func() error { return b.undo(t.Context(), h) })
	for _, answer := range []func(){func() { f.refuse("ERROR", codeCancelled) }, func() { f.answer("") }} {
		if name := f.statement(); name != unlockAllStatement {
			t.Fatalf("the session sent %q, want %q", name, unlockAllStatement)
		}
		answer()
	}
	if err := <-released; err != nil {
		t.Errorf("the release: %v", err)
	}
	if err := b.undo(t.Context(), h); !errors.Is(err, backend.ErrLost) {
		t.Errorf("a second release: %v, want ErrLost", err)
	}
}

// An Unlock that is asked for again while the first is not answered is the same
// statement.
func TestReleaseIsSentOnce(t *testing.T) {
	b, h, f := waitedHold(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := in(func() error { return b.undo(ctx, h) })
	f.statement()
	cancel()
	if err := <-first; !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrLost) {
		t.Errorf("a release without an answer: %v, want ErrUnavailable", err)
	}
	second := in(func() error { return b.undo(t.Context(), h) })
	f.answer("")
	if err := <-second; err != nil {
		t.Errorf("the second try: %v", err)
	}
	s := h.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue)+len(s.flight) > 0 {
		t.Error("the release was sent again")
	}
}

// A session whose end the server did not tell is not known to be gone.
func TestEndThatNobodyTold(t *testing.T) {
	b, h, f := waitedHold(t)
	f.conn.Close()
	<-h.session.ended
	if err := b.undo(t.Context(), h); err == nil || errors.Is(err, backend.ErrLost) {
		t.Errorf("the release: %v, want an error that is not ErrLost", err)
	}
	b2, h2, f2 := waitedHold(t)
	f2.refuse("FATAL", codeAdminShutdown)
	f2.conn.Close()
	<-h2.session.ended
	if err := b2.undo(t.Context(), h2); !errors.Is(err, backend.ErrLost) {
		t.Errorf("the release after the server's word: %v, want ErrLost", err)
	}
}
