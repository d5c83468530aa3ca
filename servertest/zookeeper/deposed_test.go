// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/zookeeper"
)

// deposedTTL outlasts the election of a new leader.
const deposedTTL = 20 * time.Second

// deposable starts a cluster and returns its leader, which takes the others for its
// followers for 30 s more after it has heard nothing of them; they give it up after
// 5 s.
func deposable(t *testing.T) (old *servertest.Server, others []*servertest.Server) {
	t.Helper()
	members := servertest.ZooKeeperMembers(t, "maxSessionTimeout=60000")
	const long = 2 // of equals the one with the largest number is elected
	members[long].Env["ZOO_SYNC_LIMIT"] = "60"
	servers := servertest.StartAll(t, members...)
	for at := leader(t, servers); at != long; at = leader(t, servers) {
		servers[at].Restart(t)
	}
	return servers[long], servers[:long]
}

// depose stops the leader and cuts it off from the others until one of them leads.
// When it goes on it answers whatever needs no other server, which is every read,
// and a sync.
func depose(t *testing.T, old *servertest.Server, others []*servertest.Server) (goOn func()) {
	t.Helper()
	old.Pause(t)
	goOn = sync.OnceFunc(func() { old.Unpause(t) })
	t.Cleanup(goOn)
	old.CutOffPort(t, quorumPort)
	leader(t, others)
	return goOn
}

func deposedConfig(t *testing.T, servers ...*servertest.Server) zookeeper.Config {
	cfg := config(t, servers...)
	cfg.Chroot = "/deposed"
	return cfg
}

// Z1: a leader that was deposed answers the client that is on it, and does not
// know that another has expired its session: no answer of its own is a heartbeat.
func TestHazard_Z1_DeposedLeader(t *testing.T) {
	t.Parallel()
	old, others := deposable(t)
	a := clientOn(t, newBackend(t, deposedConfig(t, old)), deposedTTL)
	b := clientOn(t, newBackend(t, deposedConfig(t, others...)), deposedTTL)
	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	w := behind(t, b, b, lease)
	depose(t, old, others)()
	w.Granted(t, clusterBound, lease)
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("the lease of the holder: %v", lease.Err())
	}
	t.Logf("the lease ended %v before the next was granted the lock", w.At.Sub(lease.Deadline()))
}

// G1a: the answer to a creation is lost, and the next connection is to a leader
// that was deposed before. Its list has no such node, and proves nothing: what is
// withdrawn there is not acknowledged.
func TestHazard_G1a_DeposedLeader(t *testing.T) {
	t.Parallel()
	old, others := deposable(t)
	cfg, tap := deposedConfig(t, others...), newTap()
	var only atomic.Pointer[servertest.Server]
	only.Store(others[0])
	cfg.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return tap.dial(ctx, network, only.Load().Addr)
	}
	b := newBackend(t, cfg)
	req := request("n")
	req.TTL = 2 * deposedTTL // it is not renewed during the test
	unlock(t, b, lock(t, b, req))

	// The client must not see the new leader's zxids: a server that has seen less
	// than a client does not serve it.
	tap.set(func(m message) fate {
		switch {
		case m.op == "heartbeat" && !m.reply:
			return swallow
		case m.op != "handshake" && m.reply:
			return silence
		}
		return pass
	})
	goOn := depose(t, old, others)
	req.Owner += "2"
	w := start(t, b, req)
	admin := native(t, others[1].Addr)
	path := cfg.Chroot + "/n"
	eventually(t, "the node is made", func() bool { return len(contenders(t, admin, path)) == 1 })
	w.Cancel()
	<-w.Done
	if w.Grant == nil {
		t.Fatalf("Lock, cancelled before it was answered: %v", w.Err)
	}
	only.Store(old)
	tap.set(nil)
	connections := len(tap.handshakes())
	tap.hangUp()
	goOn()
	eventually(t, "the client is on the deposed leader", func() bool { return len(tap.handshakes()) > connections })
	listed := tap.count("getChildren2") + tap.count("heartbeat")
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err := b.Withdraw(ctx, w.Grant)
		cancel()
		if err == nil {
			t.Fatalf("withdrawn by a leader that was deposed, and left %q", contenders(t, admin, path))
		}
	}
	if !strings.Contains(fourLetters(t, old.Addr, "srvr"), "Mode: leader") || tap.count("getChildren2")+tap.count("heartbeat") == listed {
		t.Error("the deposed leader was not asked, or knew it")
	}
	only.Store(others[1])
	tap.hangUp()
	eventually(t, "it is withdrawn", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return b.Withdraw(ctx, w.Grant) == nil
	})
	if nodes := contenders(t, admin, path); len(nodes) != 0 {
		t.Errorf("left: %q", nodes)
	}
}

// A server that grants less than the others shortens the session of a client that
// comes to it. The holder is told so.
func TestServerGrantsLess(t *testing.T) {
	t.Parallel()
	members := servertest.ZooKeeperMembers(t)
	members[0].Env["ZOO_CFG_EXTRA"] += " maxSessionTimeout=5000"
	servers := servertest.StartAll(t, members...)
	cfg, tap := config(t, servers...), newTap()
	var only atomic.Pointer[servertest.Server]
	only.Store(servers[1])
	cfg.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return tap.dial(ctx, network, only.Load().Addr)
	}
	a, b := newBackend(t, cfg), newBackend(t, config(t, servers[1], servers[2]))
	req, told := withLost(request("n")) // for 6 s
	g := lock(t, a, req)
	w := queue(t, b, request("n"))
	only.Store(servers[0])
	tap.hangUp()
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) || !strings.Contains(err.Error(), "a session timeout of 5s") {
			t.Errorf("told %v", err)
		}
	case <-w.Done:
		t.Error("the next was granted the lock before the holder was told")
	case <-time.After(10 * time.Second):
		t.Fatal("the holder was not told")
	}
	if err := renew(t, a, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew: %v", err)
	}
	unlock(t, b, w.Granted(t, 20*time.Second))
	if _, err := a.Lock(bounded(t), request("n")); err == nil || !strings.Contains(err.Error(), "grant a session timeout of 5s") {
		t.Errorf("a new Lock there: %v", err)
	}
}
