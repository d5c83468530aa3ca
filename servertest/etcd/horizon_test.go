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

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
)

// E5: the store is put back to a copy of its data. The leases of both clients are in
// it, and live on there. Who was granted a lock since is told, who queued since ends
// and may queue again, and what was unlocked since keeps nobody waiting.
func TestHazard_E5_PutBack(t *testing.T) {
	t.Parallel()
	const ttl = 24 * time.Second // for longer than the server is away, on a busy machine
	named := func(name string) backend.Request {
		req := request(name)
		req.TTL = ttl
		return req
	}
	server := servertest.Start(t, servertest.Etcd())
	a, b := newBackend(t, native(t, server.Addr), ""), newBackend(t, native(t, server.Addr), "")
	holder, err := locker.New(a, &locker.Config{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	given := lock(t, a, named("given"))
	unlock(t, b, lock(t, b, named("other")))
	putBack := copyData(t, server)

	unlock(t, a, given)
	lease, err := holder.Lock(bounded(t), "young")
	if err != nil {
		t.Fatal(err)
	}
	waiter := queue(t, b, named("young"))
	putBack()
	select {
	case <-lease.Context().Done():
		if !errors.Is(lease.Err(), locker.ErrLost) {
			t.Errorf("the lease: %v", lease.Err())
		}
	case <-time.After(ttl):
		t.Error("the holder was not told")
	}
	waiter.Failed(t, ttl, backend.ErrLost)
	for _, name := range []string{"given", "young"} {
		unlock(t, b, start(t, b, named(name)).Granted(t, ttl))
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
					if r, ok := reply.(*pb.RangeResponse); ok && err == nil {
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
