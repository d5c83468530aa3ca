// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// The end of a session by another's hand is pushed to holders, and ends waiters.
func TestSessionEnded(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a, holders := tappedBackend(t, server)
	b, waiters := tappedBackend(t, server)
	req, told := withLost(request("n"))
	req.TTL = 10 * time.Second // a renewal would find it later
	g := lock(t, a, req)
	waiter := request("n")
	waiter.TTL = req.TTL
	p := queue(t, b, waiter)

	waiters.end(t, waiters.handshakes()[0], server.Addr)
	p.Failed(t, time.Second, backend.ErrLost)
	if err := renew(t, a, g); err != nil {
		t.Errorf("the holder, after the waiter's session was ended: %v", err)
	}
	p = queue(t, b, waiter) // on a new session
	holders.end(t, holders.handshakes()[0], server.Addr)
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	case <-time.After(time.Second):
		t.Fatal("the holder was not told within 1 s; the next heartbeat is due after 2 s")
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

// A node that is deleted by hand is told by push, to the holder and to a waiter.
func TestNodeDeleted(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b := newBackend(t, config(t, server))
	req, told := withLost(request("n"))
	g := lock(t, b, req)
	first, second := queue(t, b, request("n")), queue(t, b, request("n"))
	nodes := contenders(t, admin, chroot(t)+"/n")

	remove(t, admin, nodes[1])
	first.Failed(t, time.Second, backend.ErrLost)
	if _, err := admin.Set(nodes[0], []byte("changed"), -1); err != nil { // this uses the watch up
		t.Fatal(err)
	}
	eventually(t, "it is watched again", func() bool { return len(watches(t, server, nodes[0])) == 1 })
	remove(t, admin, nodes[0])
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	case <-time.After(time.Second):
		t.Fatal("the holder was not told within 1 s")
	}
	if err := renew(t, b, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew: %v", err)
	}
	unlock(t, b, second.Granted(t, 10*time.Second))
}

// A node whose watch could not be set when the lock was granted is watched with
// the next renewal.
func TestWatchIsSetLater(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	eventually(t, "the first lock's watch was asked for", func() bool { return tap.count("getData") == 1 })
	if _, err := b.Inspect(bounded(t), "n"); err != nil { // and answered: answers come in order
		t.Fatal(err)
	}
	lost := tap.lose(1, cut, "getData")
	req, told := withLost(request("n"))
	g := lock(t, b, req)
	eventually(t, "the answer is lost", func() bool { return lost.Load() == 1 })
	eventually(t, "it is renewed, and watched", func() bool {
		return renew(t, b, g) == nil && len(watches(t, server, chroot(t)+"/n/")) == 1
	})
	remove(t, admin, contenders(t, admin, chroot(t)+"/n")[0])
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the holder was not told")
	}
}

// A server that grants less than the TTL takes the session over: the session is
// ended, and who holds a lock is told before that frees it.
func TestTakenOverForLess(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tappedBackend(t, server)
	other := newBackend(t, config(t, server))
	req, told := withLost(request("n"))
	req.TTL = 10 * time.Second
	lock(t, b, req)
	behind := queue(t, other, request("n"))
	tap.set(func(m message) fate {
		if m.op == "handshake" && m.reply {
			binary.BigEndian.PutUint32(m.data[8:], 5000)
		}
		return pass
	})
	tap.hangUp()
	g := behind.Granted(t, 10*time.Second)
	select {
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	default:
		t.Error("another was granted the lock, and its holder was not told")
	}
	unlock(t, other, g)
}

// The Client waits on through the end of its session, and never gets a lock on a
// session that has ended (Curator 498, 1018).
func TestWaiterStartsAgain(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, config(t, server))
	b, tap := tappedBackend(t, server)
	c := clientOn(t, b, usual)
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
		eventually(t, "it waits", func() bool { return len(contenders(t, admin, chroot(t)+"/n")) == 2 })
		present := tap.handshakes()[len(tap.handshakes())-1]
		if i%2 == 0 {
			tap.end(t, present, server.Addr)
			unlock(t, a, g)
		} else { // at the moment of the grant
			done := make(chan struct{})
			go func() { defer close(done); tap.end(t, present, server.Addr) }()
			unlock(t, a, g)
			<-done
		}
		lease := <-granted
		if lease == nil {
			return
		}
		eventually(t, "its node is there, or it was told", func() bool {
			nodes := contenders(t, admin, chroot(t)+"/n")
			if lease.Err() != nil || len(nodes) == 0 {
				return lease.Err() != nil
			}
			exists, stat, err := admin.Exists(nodes[0])
			return err == nil && exists && stat.Czxid == lease.Token() && stat.EphemeralOwner == tap.handshakes()[len(tap.handshakes())-1].id
		})
		// It did not just run out of time: the end of the session was told, or that
		// of its node, which the server deletes with it.
		if err := lease.Err(); err != nil && !strings.Contains(err.Error(), "its session has expired") && !strings.Contains(err.Error(), "its node was deleted") {
			t.Errorf("what the holder was told: %v", err)
		}
		_ = c.Unlock(bounded(t), lease) // perhaps lost
	}
}

// Close whose requests to end the session are lost, the driver's and its own first
// one, asks again: what was held is free soon, and not after the TTL.
func TestCloseUnanswered(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	for name, how := range map[string]fate{"Swallowed": swallow, "Cut": cut} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, tap := tappedBackend(t, server)
			req := request("n")
			req.TTL = 10 * time.Second
			lock(t, b, req)
			var asked atomic.Int32
			tap.set(func(m message) fate {
				if m.op == "closeSession" && !m.reply && asked.Add(1) <= 2 {
					return how
				}
				return pass
			})
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			if nodes := contenders(t, admin, chroot(t)+"/n"); len(nodes) != 0 || asked.Load() != 3 {
				t.Errorf("left after Close: %q; it was asked for %d times", nodes, asked.Load())
			}
		})
	}
}

// A grant whose session has ended before the answer came is none.
func TestGrantOnEndedSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	var ended atomic.Bool
	tap.set(func(m message) fate {
		if m.op == "getChildren2" && m.reply && ended.CompareAndSwap(false, true) {
			tap.end(t, tap.handshakes()[0], server.Addr)
			return cut
		}
		return pass
	})
	g, err := b.Lock(bounded(t), request("n"))
	if !errors.Is(err, backend.ErrLost) {
		t.Errorf("Lock on a session that has ended: %+v, %v", g, err)
	}
	if g != nil {
		if err := b.Withdraw(bounded(t), g); err != nil {
			t.Error(err)
		}
	}
}

// A Lock whose request is not answered ends with its session, and not with its own
// patience.
func TestLockEndsWithItsSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	unanswered := make(chan struct{})
	tap.set(func(m message) fate {
		if m.op == "create" && m.reply {
			close(unanswered)
			return silence
		}
		return pass
	})
	p := start(t, b, request("n"))
	<-unanswered
	tap.end(t, tap.handshakes()[0], server.Addr) // the server closes the connection
	p.Failed(t, 2*time.Second, backend.ErrLost)
	if p.Grant != nil {
		if err := b.Withdraw(bounded(t), p.Grant); err != nil {
			t.Error(err)
		}
	}
}

// A deletion that arrives late takes nothing from a newer lock.
func TestStaleUnlock(t *testing.T) {
	t.Parallel()
	server := shared(t)
	p := proxy.Start(t, server.Addr, proxy.ZooKeeper)
	cfg := config(t)
	cfg.Servers = []string{p.Addr()}
	b := newBackend(t, cfg)
	g := lock(t, b, request("n"))
	held := p.Hold(func(frame []byte) bool { return parseRequest(frame).op == "delete" })
	ctx, cancel := context.WithCancel(context.Background())
	unlocked := make(chan error)
	go func() { unlocked <- b.Unlock(ctx, g) }()
	<-held.Caught()
	cancel()
	if err := <-unlocked; !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("Unlock without an answer: %v", err)
	}
	p.Sever()
	eventually(t, "it is withdrawn", func() bool { return b.Withdraw(bounded(t), g) == nil })
	next := lock(t, b, request("n"))
	_ = held.Release() // an error: the server has closed its side
	if err := renew(t, b, next); err != nil {
		t.Errorf("the newer lock, after the late deletion: %v", err)
	}
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("a second Unlock: %v", err)
	}
	unlock(t, b, next)
}

// A cancelled wait ends, whether or not the server can be reached.
func TestCancelledWaitUnreachable(t *testing.T) {
	t.Parallel()
	server := shared(t)
	for name, fault := range map[string]func(*proxy.Proxy){"BlackHole": (*proxy.Proxy).BlackHole, "Refused": (*proxy.Proxy).Refuse} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := proxy.Start(t, server.Addr, proxy.Raw)
			cfg := config(t)
			cfg.Servers = []string{p.Addr()}
			holder, b := newBackend(t, config(t, server)), newBackend(t, cfg)
			req := func() backend.Request { r := request("n"); r.TTL = 10 * time.Second; return r }
			g := lock(t, holder, req())
			w := queue(t, b, req())
			fault(p)
			w.Cancel()
			w.Failed(t, backend.Linger(g.TTL)+2*time.Second, context.Canceled)
			unlock(t, holder, g)
		})
	}
}

// A server that does not answer, though it holds the connection, is left for
// another before the session is lost.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	server := shared(t)
	bad, good := proxy.Start(t, server.Addr, proxy.Raw), proxy.Start(t, server.Addr, proxy.Raw)
	cfg := config(t)
	cfg.Servers = []string{bad.Addr(), good.Addr()}
	b := newBackend(t, cfg)
	req, told := withLost(request("n"))
	req.TTL = 10 * time.Second
	g := lock(t, b, req)
	if bad.Open() == 0 {
		bad = good
	}
	bad.BlackHole()
	end := backend.Now().Add(2 * req.TTL)
	eventually(t, "two TTLs have passed, with renewals", func() bool {
		if err := renew(t, b, g); errors.Is(err, backend.ErrLost) {
			t.Fatalf("the lock was lost, though a server answers: %v", err)
		}
		return backend.Now().After(end)
	})
	if len(told) > 0 {
		t.Errorf("told %v", <-told)
	}
	unlock(t, b, g)
}

// A session is opened though all servers but one are silent.
func TestOpenBesideSilentServers(t *testing.T) {
	t.Parallel()
	server := shared(t)
	for range 4 { // the order is random
		cfg := config(t, server)
		for range 4 {
			frozen := proxy.Start(t, server.Addr, proxy.Raw)
			frozen.BlackHole()
			cfg.Servers = append(cfg.Servers, frozen.Addr())
		}
		b := newBackend(t, cfg)
		req := request("n")
		req.TTL = 10 * time.Second
		unlock(t, b, lock(t, b, req))
	}
}

// A server that falls silent is found out by a Lock that it does not answer, long
// before the next heartbeat.
func TestLockFindsSilentServer(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.ZooKeeper("maxSessionTimeout=60000"))
	bad, good := proxy.Start(t, server.Addr, proxy.Raw), proxy.Start(t, server.Addr, proxy.Raw)
	cfg := config(t)
	cfg.Servers = []string{bad.Addr(), good.Addr()}
	b := newBackend(t, cfg)
	req := request("n")
	req.TTL = time.Minute
	unlock(t, b, lock(t, b, req))
	if bad.Open() == 0 {
		bad = good
	}
	bad.BlackHole()
	req.Owner += "again"
	unlock(t, b, lock(t, b, req))
}

// A heartbeat has its time from when there is a connection: one that takes long to
// come, and then to answer, is kept.
func TestHeartbeatKeepsNewConnection(t *testing.T) {
	t.Parallel()
	const slow = 900 * time.Millisecond // each of the two has a sixth of the TTL
	cfg, tap := config(t, shared(t)), newTap()
	var late atomic.Bool
	cfg.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		if late.Load() {
			select {
			case <-time.After(slow):
			case <-ctx.Done():
			}
		}
		return tap.dial(ctx, network, address)
	}
	b := newBackend(t, cfg)
	req := request("n")
	req.TTL = 10 * time.Second
	g := lock(t, b, req)
	before := tap.dialled()
	var answered atomic.Int32
	tap.set(func(m message) fate {
		if m.op == "heartbeat" && m.reply && answered.Add(1) == 1 {
			<-time.After(slow)
		}
		return pass
	})
	late.Store(true)
	tap.hangUp()
	eventually(t, "a heartbeat is answered", func() bool { return renew(t, b, g) == nil })
	if n := tap.dialled() - before; n != 1 {
		t.Errorf("%d new connections, want 1", n)
	}
	unlock(t, b, g)
}

// A renewal that is asked for while there is no connection counts from the handshake
// of the next one. A heartbeat that began on another connection than it was answered
// on would count for nothing, just when there is little left.
func TestRenewalCountsFromReconnect(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	g := lock(t, b, request("n"))
	for range 3 {
		lost := tap.lose(2, silence, "heartbeat")
		var r backend.Renewal
		eventually(t, "it is renewed", func() bool {
			r = b.Renew(bounded(t), []*backend.Grant{g})[0]
			return r.Err == nil
		})
		if lost.Load() != 2 {
			t.Fatalf("%d answers were lost, want 2", lost.Load())
		}
		sessions := tap.handshakes()
		if lasts := r.Until.Sub(sessions[len(sessions)-1].asked); lasts < usual-usual/6 {
			t.Errorf("renewed on a new connection, it lasts %v from its handshake, not the TTL of %v", lasts, usual)
		}
	}
	unlock(t, b, g)
}

// What is wrong with a connection is said.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	silentServer := proxy.Start(t, shared(t).Addr, proxy.Raw)
	silentServer.BlackHole()
	for addr, says := range map[string]string{
		"127.0.0.1:" + strconv.Itoa(port): "connection refused",
		silentServer.Addr():               "did not answer the handshake",
		"no.such.host.invalid":            "no.such.host.invalid",
	} {
		start := backend.Now()
		err := refused(bounded(t), "zk://"+addr+"?tick=500ms")
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", addr, err)
		}
		if took := backend.Now().Sub(start); took > 10*time.Second {
			t.Errorf("%s: it took %v", addr, took)
		}
	}
}
