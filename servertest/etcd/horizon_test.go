// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
)

// E5: the store is put back to a copy of its data. The leases of both clients are in
// it, and live on there. Who was granted a lock since is told, who queued since ends
// and may queue again, and what was unlocked since keeps nobody waiting. So it is when
// others wrote as much since as was lost, and when nothing but an unlock was lost.
func TestHazard_E5_PutBack(t *testing.T) {
	t.Parallel()
	const (
		ttl    = 5 * time.Minute // for much longer than the server is away, on a busy machine
		within = time.Minute     // less than what a renewal would find it in
	)
	named := func(name string) backend.Request {
		req := request(name)
		req.TTL = ttl
		return req
	}
	for name, others := range map[string]int{"few revisions": 0, "as many revisions": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.Start(t, servertest.Etcd())
			a, b := openURL(t, "etcd://"+server.Addr), openURL(t, "etcd://"+server.Addr) // which connect again within 2 s
			holder, err := locker.New(a, &locker.Config{TTL: ttl})
			if err != nil {
				t.Fatal(err)
			}
			given := lock(t, a, named("given"))
			unlock(t, b, lock(t, b, named("other")))
			putBack := copyData(t, server)
			reconnect(t, a, ttl)
			reconnect(t, b, ttl)
			unlock(t, a, given)
			lease, err := holder.Lock(bounded(t), "young")
			if err != nil {
				t.Fatal(err)
			}
			waiter := queue(t, b, named("young"))
			putBack()
			writeElsewhere(t, server, others)
			select {
			case <-lease.Context().Done():
				if !errors.Is(lease.Err(), locker.ErrLost) {
					t.Errorf("the lease: %v", lease.Err())
				}
			case <-time.After(within):
				t.Error("the holder was not told")
			}
			waiter.Failed(t, within, backend.ErrLost)
			for _, name := range []string{"given", "young"} {
				unlock(t, b, start(t, b, named(name)).Granted(t, within))
			}
		})
	}
	t.Run("an unlock, and a lock since", func(t *testing.T) {
		t.Parallel()
		server := servertest.Start(t, servertest.Etcd())
		a, b := openURL(t, "etcd://"+server.Addr), openURL(t, "etcd://"+server.Addr) // which connect again within 2 s
		given := lock(t, a, named("given"))
		putBack := copyData(t, server)
		eventually(t, "the session is renewed", func() bool { return renew(t, a, given) == nil })
		unlock(t, a, given)
		putBack()
		writeElsewhere(t, server, 20)
		_, _ = a.Lock(bounded(t), named("since")) // which is in the present store, whether or not it is told yet
		unlock(t, b, start(t, b, named("given")).Granted(t, within))
	})
}

// E5: so it is when the unlock that was lost had no answer: the next one finds nothing.
func TestHazard_E5_UnlockUnanswered(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Etcd())
	a, tap := tappedBackend(t, server)
	b := openURL(t, "etcd://"+server.Addr+"/"+prefix(t))
	req := request("given")
	req.TTL = 5 * time.Minute
	given := lock(t, a, req)
	putBack := copyData(t, server)
	eventually(t, "the session is renewed", func() bool { return renew(t, a, given) == nil })
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, req, _ any, invoke func(context.Context) error) error {
			err := invoke(ctx)
			if txn, ok := req.(*pb.TxnRequest); ok && txn.Success[0].GetRequestDeleteRange() != nil && err == nil {
				return context.DeadlineExceeded
			}
			return err
		}
	})
	if err := a.Unlock(bounded(t), given); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Unlock without an answer: %v", err)
	}
	tap.set(func() { tap.hook = nil })
	if err := a.Withdraw(bounded(t), given); err != nil {
		t.Error(err)
	}
	written := make(chan struct{})
	tap.set(func() {
		tap.hook = func(ctx context.Context, _ string, _, _ any, invoke func(context.Context) error) error {
			select {
			case <-written: // so that the session does not ask before
				return invoke(ctx)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	putBack()
	writeElsewhere(t, server, 20)
	close(written)
	req.Owner = request("").Owner
	unlock(t, b, start(t, b, req).Granted(t, time.Minute))
}

// reconnect returns when a client takes locks of a server that was just started.
func reconnect(t testing.TB, b backend.Backend, ttl time.Duration) {
	t.Helper()
	eventually(t, "locks are taken again", func() bool {
		req := request("again")
		req.TTL = ttl
		g, err := b.Lock(bounded(t), req)
		if err != nil {
			if g != nil {
				_ = b.Withdraw(bounded(t), g)
			}
			return false
		}
		return b.Unlock(bounded(t), g) == nil
	})
}

// E5: where the store is as it was, a session asks a quorum once for each new stream,
// and goes on; also if its own changes are compacted.
func TestHazard_E5_AsItWas(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Etcd())
	for _, compacted := range []bool{false, true} {
		b, tap := tappedBackend(t, server)
		req := request("n")
		req.TTL = time.Minute // so that no other keep-alive looks first
		g := lock(t, b, req)
		unlock(t, b, lock(t, b, request("other")))
		if compacted {
			writeElsewhere(t, server, 2)
			admin := native(t, server.Addr)
			at, err := admin.Get(bounded(t), "elsewhere")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := admin.Compact(bounded(t), at.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		}
		if err := renew(t, b, g); err != nil {
			t.Fatal(err)
		}
		tap.set(func() { tap.send = func(method string) bool { return method != "LeaseKeepAlive" } })
		silent, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := b.Renew(silent, []*backend.Grant{g})[0].Err; !errors.Is(err, backend.ErrUnavailable) {
			t.Errorf("Renew without an answer: %v", err)
		}
		cancel()
		tap.set(func() { tap.send = nil })
		for _, want := range []int{1, 0} {
			settle(t, tap)
			tap.reset()
			if err := renew(t, b, g); err != nil {
				t.Errorf("compacted %v: Renew: %v", compacted, err)
			}
			if unary, _, _ := tap.counts(); unary["Txn"] != want {
				t.Errorf("compacted %v: Renew made %v, want %d transactions", compacted, unary, want)
			}
		}
		unlock(t, b, g)
	}
}

// E5: a session whose stream of keep-alives ends looks at once, not when the next one
// is due.
func TestHazard_E5_Prompt(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Etcd())
	b, tap := tappedBackend(t, server)
	req := request("n")
	req.TTL = 2 * time.Minute // a keep-alive is due after 46 s
	g := lock(t, b, req)
	server.Kill(t)
	server.Revive(t)
	eventually(t, "a keep-alive is sent", func() bool {
		_, sent, _ := tap.counts()
		return sent["LeaseKeepAlive"] > 0
	})
	unlock(t, b, g)
}

// writeElsewhere makes so many revisions.
func writeElsewhere(t testing.TB, server *servertest.Server, revisions int) {
	t.Helper()
	client := native(t, server.Addr)
	for range revisions {
		if _, err := client.Put(bounded(t), "elsewhere", ""); err != nil {
			t.Fatal(err)
		}
	}
}

// copyData copies a server's data, and returns what puts the copy in its place.
func copyData(t testing.TB, server *servertest.Server) (putBack func()) {
	t.Helper()
	dir := t.TempDir()
	docker := func(from, to string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "docker", "cp", "-q", from, to).CombinedOutput(); err != nil {
			t.Fatalf("docker cp: %v: %s", err, out)
		}
	}
	server.Kill(t) // so that all of it is in the files
	docker(server.Container()+":/tmp/etcd", dir)
	server.Revive(t)
	return func() {
		t.Helper()
		server.Kill(t)
		docker(filepath.Join(dir, "etcd"), server.Container()+":/tmp")
		server.Revive(t)
	}
}

// E5: the answer of a member that lags is no sign of that; that of another cluster
// in the same place is, whatever its revision. A quorum's answer may be lost: then
// the next keep-alive makes the session ask again.
func TestHazard_E5_Suspicion(t *testing.T) {
	t.Parallel()
	other := func(h *pb.ResponseHeader) { h.ClusterId++ }
	for name, c := range map[string]struct {
		stream, read func(*pb.ResponseHeader)
		lost         int32 // of the quorum's answers, the first ones
		want         error
	}{
		"a member that lags": {func(h *pb.ResponseHeader) { h.Revision = 1 }, func(*pb.ResponseHeader) {}, 0, nil},
		"another cluster":    {other, other, 0, backend.ErrLost},
		"a lost answer":      {other, other, 1, backend.ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, tap := tappedBackend(t, shared(t))
			g := lock(t, b, request("n"))
			if err := renew(t, b, g); err != nil {
				t.Fatal(err)
			}
			settle(t, tap)
			var reads atomic.Int32
			tap.set(func() {
				tap.receive = func(_ string, reply any) {
					if r, ok := reply.(*pb.LeaseKeepAliveResponse); ok && r.Header != nil { // nil at the end of the stream
						c.stream(r.Header)
					}
				}
				tap.hook = func(ctx context.Context, _ string, _, reply any, invoke func(context.Context) error) error {
					err := invoke(ctx)
					if r, ok := reply.(*pb.TxnResponse); ok && err == nil {
						if reads.Add(1) <= c.lost {
							return context.DeadlineExceeded // which the driver does not try again by itself
						}
						c.read(r.Header)
					}
					return err
				}
			})
			for range c.lost {
				if err := renew(t, b, g); err != nil {
					t.Errorf("Renew without the quorum's answer: %v", err)
				}
			}
			if err := renew(t, b, g); !errors.Is(err, c.want) {
				t.Errorf("Renew: %v, want %v", err, c.want)
			}
			if n := reads.Load(); n != c.lost+1 {
				t.Errorf("it asked a quorum %d times, want %d", n, c.lost+1)
			}
		})
	}
}
