// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

// An application is a party that uses the portable Client.
type application struct {
	*locker.Client
	*party
	spy *spy
	log *logbook
}

// application makes a Client on a party, which it then owns.
func (p *party) application() *application { return p.applicationOn(&spy{Backend: p.Backend}) }

// applicationOn makes it on a wrapper of the party's backend.
func (p *party) applicationOn(s *spy) *application {
	log := &logbook{}
	client, err := locker.New(s, &locker.Config{TTL: p.ttl, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		p.Fatalf("locker.New: %v", err)
	}
	p.Cleanup(func() {
		p.heal()
		_ = client.Close()
	})
	return &application{client, p, s, log}
}

// take locks a lock that should be granted soon.
func (a *application) take(name string, opts ...locker.Option) *locker.Lease {
	lease, err := a.Client.Lock(a.within(a.reclaim()), name, opts...)
	if err != nil {
		a.fail(err, "Client.Lock of a lock that nobody holds")
	}
	return lease
}

// A pending call of Client.Lock.
type pending struct {
	lease *locker.Lease
	err   error
	at    time.Time
	done  chan struct{}
}

// call starts a Client.Lock.
func (a *application) call(ctx context.Context, name string, opts ...locker.Option) *pending {
	w := &pending{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.lease, w.err = a.Client.Lock(ctx, name, opts...)
		w.at = backend.Now()
	}()
	return w
}

// callBehind starts a Client.Lock of the lock that h holds, and returns when the
// store has said so.
func (a *application) callBehind(ctx context.Context, h *held) *pending {
	before := a.spy.count("locked")
	w := a.call(ctx, h.grant.Name)
	heard := a.until(a.soon(), func() bool {
		select {
		case <-w.done:
			return true
		default:
			return a.spy.count("locked") > before
		}
	})
	if !heard {
		a.late("Client.Lock did not hear within %v that another holds the lock", a.soon())
	}
	return w
}

// result waits for the call to return.
func (a *application) result(w *pending, within time.Duration, why string) (*locker.Lease, error) {
	select {
	case <-w.done:
	case <-time.After(within):
		a.late("Client.Lock did not return within %v: %s", within, why)
	}
	return w.lease, w.err
}

// ended returns a channel that carries the time at which the lease's Context
// ended.
func ended(lease *locker.Lease) <-chan time.Time {
	at := make(chan time.Time, 1)
	context.AfterFunc(lease.Context(), func() { at <- backend.Now() })
	return at
}

// mustEnd waits for the end of a lease's Context, and checks its cause.
func (c *probe) mustEnd(lease *locker.Lease, within time.Duration, cause error, why string) {
	select {
	case <-lease.Context().Done():
	case <-time.After(within):
		c.late("the lease's Context did not end within %v: %s", within, why)
	}
	if err := context.Cause(lease.Context()); !errors.Is(err, cause) {
		c.fail(err, "%s: the Context's cause is not %v", why, cause)
	}
}

// A spy is a wrapper of a backend that sees its calls.
type spy struct {
	backend.Backend
	before func(op string, g *backend.Grant) // may be nil
	hang   func(op string) bool              // whether a call is to hang until its context ends; may be nil

	mu     sync.Mutex
	calls  map[string]int // by method; "locked": the store's word that another holds the lock
	owners []string
}

func (s *spy) Unwrap() backend.Backend { return s.Backend }

func (s *spy) tally(op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[string]int{}
	}
	s.calls[op]++
}

func (s *spy) saw(ctx context.Context, op string, g *backend.Grant) error {
	s.tally(op)
	if s.before != nil {
		s.before(op, g)
	}
	if s.hang != nil && s.hang(op) {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, ctx.Err())
	}
	return nil
}

func (s *spy) count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[op]
}

func (s *spy) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	s.mu.Lock()
	s.owners = append(s.owners, req.Owner)
	s.mu.Unlock()
	if err := s.saw(ctx, "Lock", nil); err != nil {
		return nil, err
	}
	if queued := req.Queued; queued != nil {
		req.Queued = func() { s.tally("locked"); queued() }
	}
	g, err := s.Backend.Lock(ctx, req)
	if errors.Is(err, backend.ErrLocked) {
		s.tally("locked")
	}
	return g, err
}

func (s *spy) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	if err := s.saw(ctx, "Renew", nil); err != nil {
		results := make([]backend.Renewal, len(grants))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	return s.Backend.Renew(ctx, grants)
}

func (s *spy) Unlock(ctx context.Context, g *backend.Grant) error {
	if err := s.saw(ctx, "Unlock", g); err != nil {
		return err
	}
	return s.Backend.Unlock(ctx, g)
}

func (s *spy) Withdraw(ctx context.Context, g *backend.Grant) error {
	if err := s.saw(ctx, "Withdraw", g); err != nil {
		return err
	}
	return s.Backend.Withdraw(ctx, g)
}

// A logbook keeps what a Client logs.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
