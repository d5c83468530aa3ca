// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// An administrator's revoke is pushed to holders, and ends waiters (etcd 19597).
func TestRevoked(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), prefix(t))
	b := newBackend(t, native(t, server.Addr), prefix(t))
	req, told := withLost(request("n"))
	req.TTL = time.Minute // a renewal would find it much later
	g := lock(t, a, req)
	waiter := request("n")
	waiter.TTL = time.Minute
	p := queue(t, b, waiter)
	leases := map[string]clientv3.LeaseID{}
	reply, err := admin.Get(bounded(t), prefix(t)+"n/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil || len(reply.Kvs) != 2 {
		t.Fatalf("%v %v", reply, err)
	}
	leases["holder"], leases["waiter"] = clientv3.LeaseID(reply.Kvs[0].Lease), clientv3.LeaseID(reply.Kvs[1].Lease)

	if _, err := admin.Revoke(bounded(t), leases["waiter"]); err != nil {
		t.Fatal(err)
	}
	p.Failed(t, 10*time.Second, backend.ErrLost)
	if err := renew(t, a, g); err != nil {
		t.Errorf("the holder, after the waiter's lease was revoked: %v", err)
	}
	p = queue(t, b, waiter) // on a new session
	server.Exec(t, "etcdctl", "lease", "revoke", fmt.Sprintf("%x", leases["holder"]))
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the holder was not told within 10 s; the next renewal is due after 20 s")
	}
	unlock(t, b, p.Granted(t, 10*time.Second))
	if err := renew(t, a, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew: %v", err)
	}
	if err := a.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Unlock: %v", err)
	}
	if len(told) > 0 {
		t.Errorf("told twice: %v", <-told)
	}
}

// The Client waits on through the end of its session, and never gets a lock on
// a dead lease (etcd 11456, 11457).
func TestWaiterStartsAgain(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), prefix(t))
	c, err := locker.New(newBackend(t, native(t, server.Addr), prefix(t)), &locker.Config{TTL: usual})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 10 {
		g := lock(t, a, request("n"))
		granted := make(chan *locker.Lease, 1)
		go func() {
			lease, err := c.Lock(bounded(t), "n")
			if err != nil {
				t.Error(err)
			}
			granted <- lease
		}()
		eventually(t, "it waits", func() bool { return len(keys(t, admin, prefix(t)+"n/")) == 2 })
		reply, err := admin.Get(bounded(t), prefix(t)+"n/", clientv3.WithLastCreate()...)
		if err != nil || len(reply.Kvs) == 0 {
			t.Fatal(err)
		}
		revoke := func() {
			if _, err := admin.Revoke(bounded(t), clientv3.LeaseID(reply.Kvs[0].Lease)); err != nil {
				t.Error(err)
			}
		}
		if i%2 == 0 {
			revoke()
			unlock(t, a, g)
		} else { // at the moment of the grant
			done := make(chan struct{})
			go func() { defer close(done); revoke() }()
			unlock(t, a, g)
			<-done
		}
		lease := <-granted
		if lease == nil {
			return
		}
		eventually(t, "its key is there, or it was told", func() bool {
			reply, err := admin.Get(bounded(t), prefix(t)+"n/", clientv3.WithFirstCreate()...)
			there := err == nil && len(reply.Kvs) == 1 && reply.Kvs[0].CreateRevision == lease.Token()
			return there || lease.Err() != nil
		})
		_ = c.Unlock(bounded(t), lease) // perhaps lost
	}
}

// A grant whose lease has ended before the reply came is none (etcd 11457).
func TestGrantOnDeadLease(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	lock(t, b, request("first"))
	lease := leaseOf(t, admin, prefix(t)+"first/")
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, req, _ any, invoke func(context.Context) error) error {
			err := invoke(ctx)
			if isEnqueue(req) {
				if _, err := admin.Revoke(bounded(t), lease); err != nil {
					t.Error(err)
				}
				eventually(t, "the adapter gives the session up", func() bool { unary, _, _ := tap.counts(); return unary["LeaseRevoke"] == 1 })
			}
			return err
		}
	})
	g, err := b.Lock(bounded(t), request("n"))
	if !errors.Is(err, backend.ErrLost) {
		t.Errorf("Lock on a lease that has ended: %v, %v", g, err)
	}
}

// A delete that arrives late takes nothing from a newer lock (etcd 22082).
func TestStaleUnlock(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tappedBackend(t, server)
	g := lock(t, b, request("n"))
	caught, release := tap.hold(t, func(any) bool { return true })
	ctx, cancel := context.WithCancel(context.Background())
	unlocked := make(chan error)
	go func() { unlocked <- b.Unlock(ctx, g) }()
	<-caught
	cancel()
	if err := <-unlocked; !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("Unlock without an answer: %v", err)
	}
	if err := b.Withdraw(bounded(t), g); err != nil {
		t.Fatal(err)
	}
	next := lock(t, b, request("n"))
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := renew(t, b, next); err != nil {
		t.Errorf("the newer lock, after the late delete: %v", err)
	}
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("a second Unlock: %v", err)
	}
	unlock(t, b, next)
}

// A cancelled wait ends, whether or not the server can be reached (etcd 18082).
func TestCancelledWaitUnreachable(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a := newBackend(t, native(t, server.Addr), prefix(t))
	for name, fault := range map[string]func(*proxy.Proxy){"black hole": (*proxy.Proxy).BlackHole, "refused": (*proxy.Proxy).Refuse} {
		t.Run(name, func(t *testing.T) {
			p := proxy.Start(t, server.Addr, proxy.Raw)
			b := newBackend(t, native(t, p.Addr()), prefix(t))
			req := request("n")
			req.TTL = time.Minute
			holder := newBackend(t, native(t, server.Addr), prefix(t))
			g := lock(t, holder, req)
			w := queue(t, b, req)
			fault(p)
			w.Cancel()
			w.Failed(t, backend.Linger(req.TTL)+2*time.Second, context.Canceled)
			unlock(t, holder, g)
		})
	}
	unlock(t, a, lock(t, a, request("other")))
}

// A wait, and the watch of the session, go on when the revision at which they
// stand was compacted while they were cut off.
func TestCompactionDuringWait(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Etcd())
	admin := native(t, server.Addr)
	p := proxy.Start(t, server.Addr, proxy.Raw)
	tap := newTap()
	a, b := newBackend(t, native(t, server.Addr), ""), newBackend(t, native(t, p.Addr(), tap.use), "")
	long := func(name string) (backend.Request, chan error) {
		r, told := withLost(request(name))
		r.TTL = time.Minute
		return r, told
	}
	req, _ := long("n")
	g := lock(t, a, req)
	own, told := long("own")
	lock(t, b, own)
	req, _ = long("n")
	w := queue(t, b, req)
	lease := leaseOf(t, admin, "own/")

	p.Refuse()
	var revision int64
	for range 5 {
		reply, err := admin.Put(bounded(t), "x", "")
		if err != nil {
			t.Fatal(err)
		}
		revision = reply.Header.Revision
	}
	if _, err := admin.Compact(bounded(t), revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	unlock(t, a, g)
	unlock(t, b, w.Granted(t, 30*time.Second))
	quiet := func() bool {
		tap.reset()
		since := backend.Now()
		eventually(t, "a second has passed", func() bool { return backend.Now().Sub(since) > time.Second })
		unary, _, _ := tap.counts()
		return len(unary) == 0
	}
	eventually(t, "the session is watched again, and not asked for", quiet)
	if _, err := admin.Revoke(bounded(t), lease); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("after the compaction the holder was not told of its lease's end within 15 s; the next renewal is due after 20 s")
	}
}

// A stream keeps the token with which it was opened. When that has expired, new
// waits are still woken by a push.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	server := startGuarded(t, "--auth-token-ttl", "1")
	login := func(cfg *clientv3.Config) { cfg.Username, cfg.Password = "app", secret }
	a, b := newBackend(t, native(t, server.Addr, login), "a/"), newBackend(t, native(t, server.Addr, login), "a/")
	req := request("n")
	req.TTL = 15 * time.Second
	open := request("open")
	open.TTL = req.TTL
	lock(t, b, open) // and a stream of watches, with the first token
	since := backend.Now()
	eventually(t, "the token has expired", func() bool { return backend.Now().Sub(since) > 4*time.Second })
	fastest := time.Hour
	for range 3 {
		g := lock(t, a, req)
		w := queue(t, b, req)
		since = backend.Now()
		eventually(t, "it has waited long enough to be polling", func() bool { return backend.Now().Sub(since) > 2*time.Second })
		since = backend.Now()
		unlock(t, a, g)
		g = w.Granted(t, 30*time.Second)
		fastest = min(fastest, backend.Now().Sub(since))
		unlock(t, b, g)
	}
	if fastest > 500*time.Millisecond {
		t.Errorf("each hand-over took %v or more after the token had expired", fastest)
	}
}

// makeSpace deletes what filled the server, and ends the alarm.
func makeSpace(t testing.TB, admin *clientv3.Client, addr string) {
	t.Helper()
	deleted, err := admin.Delete(bounded(t), "fill")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Compact(bounded(t), deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Defragment(bounded(t), addr); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.AlarmDisarm(bounded(t), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
}

// A server out of space refuses new locks and says why; held ones go on.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Etcd("--quota-backend-bytes", "1048576"))
	admin := native(t, server.Addr)
	b, other := newBackend(t, native(t, server.Addr), ""), newBackend(t, native(t, server.Addr), "")
	g := lock(t, b, request("n"))
	w := queue(t, other, request("n"))
	doubtful, tap := tappedBackend(t, server)
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, req, _ any, invoke func(context.Context) error) error {
			err := invoke(ctx)
			if isEnqueue(req) {
				return errNoReply
			}
			return err
		}
	})
	rest, err := doubtful.Lock(bounded(t), request("doubtful"))
	if rest == nil || !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("Lock without an answer: %v, %v", rest, err)
	}
	err = nil
	for err == nil {
		_, err = admin.Put(bounded(t), "fill", string(make([]byte, 200_000)))
	}
	if !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Fatal(err)
	}
	fresh := newBackend(t, native(t, server.Addr), "")
	for _, b := range []backend.Backend{b, fresh} {
		more, err := b.Lock(bounded(t), request("more"))
		if more != nil || !errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Lock without space: %v, %v", more, err)
		}
	}
	if err := renew(t, b, g); err != nil {
		t.Errorf("Renew without space: %v", err)
	}
	unlock(t, b, g)
	unlock(t, other, w.Granted(t, 10*time.Second))

	// There is no room for a tombstone, so the withdrawal is not done; but it
	// stands in nobody's way.
	if err := doubtful.Withdraw(bounded(t), rest); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("Withdraw without space: %v", err)
	}
	if left := keys(t, admin, prefix(t)); slices.ContainsFunc(left, func(k string) bool { return !strings.Contains(k, "~session") }) {
		t.Errorf("left: %q", left)
	}
	makeSpace(t, admin, server.Addr)
	if err := doubtful.Withdraw(bounded(t), rest); err != nil {
		t.Errorf("Withdraw with space: %v", err)
	}
	if left := keys(t, admin, prefix(t)+"~gone/"); len(left) != 1 {
		t.Errorf("tombstones: %q", left)
	}
}
