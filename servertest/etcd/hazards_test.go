// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/etcd"
	"github.com/golocker/locker/servertest"
)

var errNoReply = status.Error(codes.Unavailable, "no reply, says the test")

// tapped opens a backend whose requests the test sees.
func tappedBackend(t testing.TB, server *servertest.Server) (*etcd.Backend, *tap) {
	t.Helper()
	tap := newTap()
	return newBackend(t, native(t, server.Addr, tap.use), prefix(t)), tap
}

// G1a: an enqueue that arrives after its withdrawal was acknowledged leaves
// nothing, while other locks of the same lease stay held.
func TestHazard_G1a_LateEnqueue(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	other := lock(t, b, request("other"))
	for range 5 {
		caught, release := tap.hold(t, isEnqueue)
		p := start(t, b, request("n"))
		<-caught
		p.Cancel()
		<-p.Done
		if p.Err == nil || p.Grant == nil {
			t.Fatalf("Lock without an answer returned %v, %v", p.Grant, p.Err)
		}
		if err := b.Withdraw(bounded(t), p.Grant); err != nil {
			t.Fatal(err)
		}
		if err := release(); err != nil { // it arrives, and is answered
			t.Fatal(err)
		}
		if left := keys(t, admin, prefix(t)+"n/"); len(left) != 0 {
			t.Fatalf("a request that was withdrawn is in the queue: %q", left)
		}
	}
	if err := renew(t, b, other); err != nil {
		t.Errorf("another lock of the lease: %v", err)
	}
	unlock(t, b, other)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, admin, prefix(t)); len(left) != 0 {
		t.Errorf("left after Close: %q", left)
	}
}

// G1a: a try that got no answer may arrive after a later try was granted and
// unlocked.
func TestHazard_G1a_LateTry(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	caught, release := tap.hold(t, isEnqueue)
	req := request("n")
	req.TTL = time.Minute
	p := start(t, b, req)
	<-caught
	g := p.Granted(t, 30*time.Second) // by its second try
	unlock(t, b, g)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, admin, prefix(t)+"n/"); len(left) != 0 {
		t.Fatalf("a try came after the unlock, and is in the queue: %q", left)
	}
}

// G1a: a try that got no answer may arrive after the lock, which a later try was
// granted, was found to be deleted by hand. Nobody would unlock it again.
func TestHazard_G1a_LateTryOfLost(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	caught, release := tap.hold(t, isEnqueue)
	req := request("n")
	req.TTL = time.Minute
	p := start(t, b, req)
	<-caught
	g := p.Granted(t, 30*time.Second) // by its second try
	remove(t, admin, keys(t, admin, prefix(t)+"n/")[0])
	if err := renew(t, b, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew of a lock whose key was deleted: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, admin, prefix(t)+"n/"); len(left) != 0 {
		t.Fatalf("a try came after the loss, and is in the queue: %q", left)
	}
}

// G1a: with more than 1000 tombstones on a session new locks go to a new one,
// and the old one ends with its last lock.
func TestHazard_G1a_Tombstones(t *testing.T) {
	server := servertest.Start(t, servertest.Etcd())
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	req := func(name string) backend.Request { r := request(name); r.TTL = time.Minute; return r }
	held := lock(t, b, req("held"))
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, msg, _ any, invoke func(context.Context) error) error {
			if isEnqueue(msg) && strings.Contains(string(msg.(*pb.TxnRequest).Success[0].GetRequestPut().Key), "/gone/") {
				return errNoReply
			}
			return invoke(ctx)
		}
	})
	var all sync.WaitGroup
	for range 1001 {
		all.Go(func() {
			g, err := b.Lock(bounded(t), req("gone"))
			if g == nil || !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("%v %v", g, err)
				return
			}
			for ctx := bounded(t); err != nil; err = b.Withdraw(ctx, g) {
				if ctx.Err() != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	next := lock(t, b, req("next"))
	if next.Group == held.Group {
		t.Fatal("a session with 1001 tombstones takes a new lock")
	}
	unlock(t, b, held)
	eventually(t, "the old lease is revoked", func() bool {
		leases, err := admin.Leases(bounded(t))
		return err == nil && len(leases.Leases) == 1
	})
	if err := renew(t, b, next); err != nil {
		t.Error(err)
	}
	unlock(t, b, next)
}

// G2a: a lock that was granted long after the last keep-alive was sent lasts no
// longer than that allows.
func TestHazard_G2a_GrantExtendsNothing(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	tap.set(func() { tap.send = func(method string) bool { return method != "LeaseKeepAlive" } })
	const ttl = 4 * short // a slow machine must not take it for dead
	req := func(name string) backend.Request { r := request(name); r.TTL = ttl; return r }
	first := lock(t, b, req("first"))
	opened := backend.Now()
	eventually(t, "time has passed", func() bool { return backend.Now().Sub(opened) > ttl/2 })
	second := lock(t, b, req("second"))
	if limit := opened.Add(ttl); second.Until.After(limit) || first.Until.After(limit) {
		t.Errorf("locks last until %v and %v after the lease was granted for %v", first.Until.Sub(opened), second.Until.Sub(opened), ttl)
	}
}

// E2: the TTL is rounded up, and that of the reply counts.
func TestHazard_E2_TTLOfTheReply(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Etcd("--heartbeat-interval", "400", "--election-timeout", "4000"))
	b := newBackend(t, native(t, server.Addr), "")
	before := backend.Now()
	req := request("n")
	req.TTL = short
	g := lock(t, b, req)
	if g.TTL <= short || g.Until.Before(before.Add(g.TTL)) {
		t.Errorf("TTL %v, until %v after the request; the server's least TTL is more than %v", g.TTL, g.Until.Sub(before), short)
	}
	rounded := newBackend(t, native(t, shared(t).Addr), prefix(t))
	req = request("n")
	req.TTL = 2100 * time.Millisecond
	if g := lock(t, rounded, req); g.TTL != 3*time.Second {
		t.Errorf("a TTL of 2.1 s became %v", g.TTL)
	}
}

// E2: replies name only the lease; each belongs to the keep-alive that was sent
// first, and dates from then.
func TestHazard_E2_RepliesInOrder(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	replies := make(chan struct{})
	tap.set(func() {
		tap.receive = func(method string, _ any) {
			if method == "LeaseKeepAlive" {
				<-replies
			}
		}
	})
	defer close(replies)
	req := request("n")
	req.TTL = 10 * time.Second
	g := lock(t, b, req)
	type result struct {
		number int
		sent   time.Time
		backend.Renewal
	}
	results := make(chan result, 2)
	send := func(number int) {
		r := result{number: number, sent: backend.Now()}
		r.Renewal = b.Renew(bounded(t), []*backend.Grant{g})[0]
		results <- r
	}
	sent := func(n int) func() bool {
		return func() bool { _, sent, _ := tap.counts(); return sent["LeaseKeepAlive"] == n }
	}
	go send(1)
	eventually(t, "the first is sent", sent(1))
	seen := map[int]time.Time{1: backend.Now()}
	eventually(t, "time has passed", func() bool { return backend.Now().Sub(seen[1]) > 700*time.Millisecond })
	go send(2)
	eventually(t, "the second is sent", sent(2))
	seen[2] = backend.Now()
	for number := 1; number <= 2; number++ {
		replies <- struct{}{}
		r := <-results
		if r.Err != nil || r.number != number {
			t.Fatalf("reply %d is that of keep-alive %d: %v", number, r.number, r.Err)
		}
		if from := r.Until.Add(-g.TTL); from.Before(r.sent) || from.After(seen[number]) {
			t.Errorf("renewal %d counts from %v after it was asked for; it was sent within %v", number, from.Sub(r.sent), seen[number].Sub(r.sent))
		}
	}
}

// E2: a new stream forgets what was sent on the old one: its replies are not
// those of the old sends, nor the other way round.
func TestHazard_E2_NewStream(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	var swallow atomic.Bool
	swallow.Store(true)
	tap.set(func() {
		tap.send = func(method string) bool { return method != "LeaseKeepAlive" || !swallow.Load() }
	})
	req := request("n")
	req.TTL = 30 * time.Second
	g := lock(t, b, req)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if r := b.Renew(ctx, []*backend.Grant{g})[0]; !errors.Is(r.Err, backend.ErrUnavailable) {
		t.Fatalf("a renewal that was swallowed: %+v", r)
	}
	swallow.Store(false)
	before := backend.Now()
	r := b.Renew(bounded(t), []*backend.Grant{g})[0]
	if r.Err != nil || r.Until.Before(before.Add(g.TTL)) {
		t.Errorf("the renewal after it: %v, until %v after it was sent", r.Err, r.Until.Sub(before))
	}
	tap.set(func() {
		if tap.opened["LeaseKeepAlive"] != 2 {
			t.Errorf("streams: %v", tap.opened)
		}
	})
}

// A reply to a keep-alive that comes after its try was given up still counts.
func TestSlowKeepAlives(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	req := request("n")
	req.TTL = usual // a try has 1 s
	tap.set(func() {
		tap.receive = func(method string, _ any) {
			if method == "LeaseKeepAlive" {
				<-time.After(1400 * time.Millisecond)
			}
		}
	})
	g := lock(t, b, req)
	eventually(t, "it would have expired", func() bool { return backend.Now().Sub(g.Until) > req.TTL/2 })
	eventually(t, "the lock is renewed", func() bool {
		err := renew(t, b, g)
		if errors.Is(err, backend.ErrLost) {
			t.Fatalf("over a slow network: %v", err)
		}
		return err == nil
	})
}

// E3: an enqueue whose reply was lost is asked for again, finds its own key, and
// who is before it.
func TestHazard_E3_Replay(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), prefix(t))
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("first")))
	var lost atomic.Int32
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, req, _ any, invoke func(context.Context) error) error {
			if err := invoke(ctx); err != nil || !isEnqueue(req) || lost.Add(1)%2 == 0 {
				return err
			}
			return errNoReply
		}
	})
	noWait := request("free")
	noWait.NoWait = true
	for _, req := range []backend.Request{request("free"), noWait} {
		g := lock(t, b, req)
		if reply, err := admin.Get(bounded(t), prefix(t)+"free/", clientv3.WithPrefix()); err != nil || reply.Count != 1 || reply.Kvs[0].CreateRevision != g.Token {
			t.Errorf("token %d of %+v: %v", g.Token, reply, err)
		}
		unlock(t, b, g)
	}
	held := lock(t, a, request("held"))
	p := queue(t, b, request("held"))
	unlock(t, a, held)
	unlock(t, b, p.Granted(t, 10*time.Second))
	noWait = request("held")
	noWait.NoWait = true
	held = lock(t, a, request("held"))
	if g, err := b.Lock(bounded(t), noWait); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait of a held lock: %v, %v", g, err)
	}
	unlock(t, a, held)
	for _, name := range []string{"free", "held"} {
		if left := keys(t, admin, prefix(t)+name+"/"); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// E4: a list from a member that lags is not believed; a list without the own key
// that is as young as the key is the loss of it.
func TestHazard_E4_Verify(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), prefix(t))
	b, tap := tappedBackend(t, server)
	var stale atomic.Int32
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, req, reply any, invoke func(context.Context) error) error {
			err := invoke(ctx)
			if r, ok := req.(*pb.RangeRequest); ok && r.Serializable && err == nil {
				stale.Add(1)
				list := reply.(*pb.RangeResponse)
				list.Header.Revision, list.Kvs, list.Count = 1, nil, 0
			}
			return err
		}
	})
	held := lock(t, a, request("n"))
	p := queue(t, b, request("n"))
	unlock(t, a, held)
	unlock(t, b, p.Granted(t, 10*time.Second))
	if stale.Load() != 1 {
		t.Errorf("%d lists were stale", stale.Load())
	}

	tap.set(func() { tap.hook = nil })
	held = lock(t, a, request("n"))
	p = queue(t, b, request("n"))
	third := queue(t, a, request("n"))
	remove(t, admin, keys(t, admin, prefix(t)+"n/")[1])
	unlock(t, a, held)
	p.Failed(t, 10*time.Second, backend.ErrLost)
	unlock(t, a, third.Granted(t, 10*time.Second))
}

// E1: servers that may end a renewed lease are warned of, once a Backend.
func TestHazard_E1_OldServer(t *testing.T) {
	t.Parallel()
	tap := newTap()
	tap.hook = func(ctx context.Context, _ string, _, reply any, invoke func(context.Context) error) error {
		err := invoke(ctx)
		if s, ok := reply.(*pb.StatusResponse); ok {
			s.Version = "3.5.9"
		}
		return err
	}
	var log lines
	c := native(t, shared(t).Addr, tap.use)
	b, err := etcd.New(c, &etcd.Config{Prefix: prefix(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, name := range []string{"a", "b"} {
		unlock(t, b, lock(t, b, request(name)))
	}
	eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "3.5.23") })
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}

// lines is a buffer for a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// G5a: a session past its local deadline is never renewed again, but revoked
// before the server would end it, though its keep-alives get through again.
func TestHazard_G5a_GivenUpSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	const ttl = usual
	req := request("n")
	g := lock(t, b, req)
	lease := leaseOf(t, admin, prefix(t)+"n/")
	var swallow atomic.Bool
	swallow.Store(true)
	tap.set(func() { tap.send = func(method string) bool { return method != "LeaseKeepAlive" || !swallow.Load() } })
	deadline := g.Until.Add(-backend.Margin(ttl))
	eventually(t, "the deadline is near", func() bool { return backend.Now().After(deadline.Add(-time.Second)) })
	// What the server believes: that the lease was just renewed.
	if _, err := admin.KeepAliveOnce(bounded(t), lease); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deadline has passed", func() bool { return backend.Now().After(deadline) })
	swallow.Store(false)
	late := backend.Now()
	_, before, _ := tap.counts()
	if err := renew(t, b, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew of a session past its deadline: %v", err)
	}
	eventually(t, "the lease is revoked", func() bool {
		left, err := admin.TimeToLive(bounded(t), lease)
		return err == nil && left.TTL < 0
	})
	if took := backend.Now().Sub(late); took > ttl/2 {
		t.Errorf("the lease ended after %v, by itself perhaps", took)
	}
	if _, after, _ := tap.counts(); after["LeaseKeepAlive"] != before["LeaseKeepAlive"] {
		t.Errorf("%d keep-alives after the deadline", after["LeaseKeepAlive"]-before["LeaseKeepAlive"])
	}
	next := lock(t, b, req) // on a new session
	if next.Group == g.Group || next.Token <= g.Token {
		t.Errorf("token %d after %d, session %v after %v", next.Token, g.Token, next.Group, g.Group)
	}
	unlock(t, b, next)
}

// G11a: the contenders of "a/b" are not among those of "a", and no name meets a
// key that is not a lock's.
func TestHazard_G11a_Names(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), prefix(t))
	names := []string{"a", "a/b", "a/", "/a", "a//b", "..", ".", "../a", "~gone", "~gone/x", "~session", "a~2Fb", "a%2Fb", "ä", "a b", "\x00", "a\x00", strings.Repeat("/", 512)}
	for _, name := range names {
		req := request(name)
		req.NoWait = true
		g, err := b.Lock(bounded(t), req)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if err := renew(t, b, g); err != nil {
			t.Errorf("%q: renew: %v", name, err)
		}
		if state, err := b.Inspect(bounded(t), name); err != nil || state.Token != g.Token || state.Waiters != 0 {
			t.Errorf("%q: %+v %v", name, state, err)
		}
		directory := fmt.Sprintf("%s%s/", prefix(t), backend.Escape(name))
		if found := keys(t, admin, directory); len(found) != 1 || strings.Count(strings.TrimPrefix(found[0], prefix(t)), "/") != 1 {
			t.Errorf("%q: keys %q", name, found)
		}
	}
}
