// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
	"github.com/golocker/locker/memory"
)

// testTTL is the TTL of the clients in these tests. Its margin is 600 ms, its
// Linger 2 s; the Client looks at its leases every 300 ms.
const testTTL = 12 * time.Second

const testTick = 300 * time.Millisecond

// quiet is a configuration that logs nothing.
var quiet = &locker.Config{TTL: testTTL, Logger: slog.New(slog.DiscardHandler)}

// newClient returns a Client that is closed with the test. A test in a bubble
// that leaves a goroutine behind fails.
func newClient(t *testing.T, b backend.Backend) *locker.Client {
	t.Helper()
	c, err := locker.New(b, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// simulated runs f under synctest, with a store that has sessions.
func simulated(t *testing.T, f func(*testing.T, *sessionstore.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, sessionstore.NewStore()) })
}

// newSession returns a Client with a session, and its link to the store.
func newSession(t *testing.T, s *sessionstore.Store) (*locker.Client, *sessionstore.Link) {
	t.Helper()
	b := s.NewBackend()
	return newClient(t, b), b.Link
}

// elapse moves the clock of the bubble, then lets all goroutines come to rest.
func elapse(d time.Duration) {
	time.Sleep(d) // sleeps: in a bubble that is how time passes
	synctest.Wait()
}

func mustLock(t *testing.T, l locker.Locker, name string, opts ...locker.Option) *locker.Lease {
	t.Helper()
	lease, err := l.Lock(t.Context(), name, opts...)
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	return lease
}

func mustUnlock(t *testing.T, l locker.Locker, lease *locker.Lease) {
	t.Helper()
	if err := l.Unlock(t.Context(), lease); err != nil {
		t.Fatalf("Unlock: %v", err)
	}
}

// An attempt is a Lock in a goroutine.
type attempt struct {
	lease *locker.Lease
	err   error
	at    time.Time
	done  chan struct{}
}

func lockAsync(ctx context.Context, l locker.Locker, name string) *attempt {
	a := &attempt{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.lease, a.err = l.Lock(ctx, name)
		a.at = backend.Now()
	}()
	return a
}

func (a *attempt) ended() bool {
	synctest.Wait()
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// mustHold fails the test unless the Lock has returned a lease by now.
func (a *attempt) mustHold(t *testing.T) *locker.Lease {
	t.Helper()
	if !a.ended() {
		t.Fatal("Lock still waits")
	}
	if a.err != nil {
		t.Fatalf("Lock: %v", a.err)
	}
	return a.lease
}

// wantIs checks that err Is all of targets.
func wantIs(t *testing.T, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("%s: error %q is not %q", what, err, target)
		}
	}
}

func wantIsNot(t *testing.T, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if errors.Is(err, target) {
			t.Errorf("%s: error %q is %q", what, err, target)
		}
	}
}

// soon receives from ch, within a simulated hour.
func soon[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	timeout := time.NewTimer(time.Hour)
	defer timeout.Stop()
	select {
	case v := <-ch:
		return v
	case <-timeout.C:
		t.Fatal("nothing happened within an hour")
		panic("unreachable")
	}
}

// lostAt records when a lease's Context ends.
func lostAt(lease *locker.Lease) <-chan time.Time {
	at := make(chan time.Time, 1)
	context.AfterFunc(lease.Context(), func() { at <- backend.Now() })
	return at
}

// onRequest is a hook that gives a fate to the requests of a kind.
func onRequest(kind sessionstore.Kind, fate sessionstore.Fate) func(sessionstore.Message) sessionstore.Fate {
	return on(kind, false, fate)
}

// onReply is a hook that gives a fate to the replies of a kind.
func onReply(kind sessionstore.Kind, fate sessionstore.Fate) func(sessionstore.Message) sessionstore.Fate {
	return on(kind, true, fate)
}

func on(kind sessionstore.Kind, reply bool, fate sessionstore.Fate) func(sessionstore.Message) sessionstore.Fate {
	return func(m sessionstore.Message) sessionstore.Fate {
		if m.Kind == kind && m.Reply == reply {
			return fate
		}
		return sessionstore.Fate{}
	}
}

// once gives the fate that hook has for a message to the first such message
// only.
func once(hook func(sessionstore.Message) sessionstore.Fate) func(sessionstore.Message) sessionstore.Fate {
	var mu sync.Mutex
	spent := false
	return func(m sessionstore.Message) sessionstore.Fate {
		mu.Lock()
		defer mu.Unlock()
		fate := hook(m)
		if spent {
			return sessionstore.Fate{}
		}
		spent = fate != (sessionstore.Fate{})
		return fate
	}
}

// A stub is a memory backend of which a test replaces parts. It counts calls
// and remembers when they came.
type stub struct {
	*memory.Backend
	info     func(*backend.Info)
	lock     func(context.Context, backend.Request) (*backend.Grant, error)
	renew    func(context.Context, []*backend.Grant) []backend.Renewal
	unlock   func(context.Context, *backend.Grant) error
	withdraw func(context.Context, *backend.Grant) error
	close    func() error

	mu    sync.Mutex
	calls []stubCall
}

type stubCall struct {
	op     string
	at     time.Time
	owner  string
	grants int
}

func newStub() *stub { return &stub{Backend: memory.New()} }

func (s *stub) record(op, owner string, grants int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, stubCall{op, backend.Now(), owner, grants})
}

// set changes parts while a Client uses the stub.
func (s *stub) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func part[T any](s *stub, f *T) T {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *f
}

// of returns the calls of an operation so far.
func (s *stub) of(op string) (calls []stubCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c.op == op {
			calls = append(calls, c)
		}
	}
	return calls
}

func (s *stub) Info() backend.Info {
	info := s.Backend.Info()
	info.Name = "stub"
	if s.info != nil {
		s.info(&info)
	}
	return info
}

func (s *stub) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	s.record("lock", req.Owner, 0)
	if f := part(s, &s.lock); f != nil {
		return f(ctx, req)
	}
	return s.Backend.Lock(ctx, req)
}

func (s *stub) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	s.record("renew", grants[0].Owner, len(grants))
	if f := part(s, &s.renew); f != nil {
		return f(ctx, grants)
	}
	return s.Backend.Renew(ctx, grants)
}

func (s *stub) Unlock(ctx context.Context, g *backend.Grant) error {
	s.record("unlock", g.Owner, 1)
	if f := part(s, &s.unlock); f != nil {
		return f(ctx, g)
	}
	return s.Backend.Unlock(ctx, g)
}

func (s *stub) Withdraw(ctx context.Context, g *backend.Grant) error {
	s.record("withdraw", g.Owner, 1)
	if f := part(s, &s.withdraw); f != nil {
		return f(ctx, g)
	}
	return s.Backend.Withdraw(ctx, g)
}

func (s *stub) Close() error {
	s.record("close", "", 0)
	if f := part(s, &s.close); f != nil {
		return f()
	}
	return s.Backend.Close()
}

// granted is a grant that any request gets at once.
func granted(req backend.Request, until time.Time) *backend.Grant {
	return &backend.Grant{Request: req, Token: 1, Until: until}
}

// renewAll renews whatever it is given, up to the start of the call + TTL.
func renewAll(_ context.Context, grants []*backend.Grant) []backend.Renewal {
	return make([]backend.Renewal, len(grants))
}

// unavailable is what an adapter returns when a store does not answer.
func unavailable(driver error) error { return errors.Join(backend.ErrUnavailable, driver) }

var errDriver = errors.New("driver: connection reset by peer")

// silent is a store that does not answer: an exchange ends with its context.
func silent(ctx context.Context) error {
	<-ctx.Done()
	return unavailable(context.Cause(ctx))
}
