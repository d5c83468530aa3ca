// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
	"github.com/golocker/locker/zookeeper"
)

// tapped opens a backend whose requests the test sees.
func tappedBackend(t testing.TB, servers ...*servertest.Server) (*zookeeper.Backend, *tap) {
	t.Helper()
	cfg, tap := config(t, servers...), newTap()
	cfg.Dialer = tap.dial
	return newBackend(t, cfg), tap
}

// What the driver's own lock does when the connection is lost after the creation
// of its node, and again before the list by which it would find that: it gives up,
// and its session keeps the node.
func TestDriversOrphan(t *testing.T) {
	t.Parallel()
	server, tap := shared(t), newTap()
	admin := native(t, server.Addr)
	path := chroot(t) + "/n"
	theirs, _, err := zk.Connect([]string{server.Addr}, 5*time.Second, zk.WithDialer(tap.driverDial), zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	first := zk.NewLock(theirs, path, zk.WorldACL(zk.PermAll))
	if err := errors.Join(first.Lock(), first.Unlock()); err != nil {
		t.Fatal(err)
	}
	loseCreateAndList(tap)
	if err := zk.NewLock(theirs, path, zk.WorldACL(zk.PermAll)).Lock(); err == nil {
		t.Fatal("the driver's lock came through: there is no orphan to show")
	}
	tap.set(nil)
	orphan := contenders(t, admin, path)
	if len(orphan) != 1 {
		t.Fatalf("the driver's lock left %q", orphan)
	}
	since := backend.Now()
	eventually(t, "more than its session's timeout has passed", func() bool { return backend.Now().Sub(since) > 7*time.Second })
	b := newBackend(t, config(t, server))
	noWait := request("n")
	noWait.NoWait = true
	if _, err := b.Lock(bounded(t), noWait); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("Lock behind the orphan: %v", err)
	}
}

// loseCreateAndList cuts the connection at the answer to a creation, and again at
// the answer to the next list.
func loseCreateAndList(tap *tap) {
	var created, listed atomic.Bool
	tap.set(func(m message) fate {
		switch {
		case m.reply && m.op == "create" && created.CompareAndSwap(false, true):
			return cut
		case m.reply && m.op == "getChildren2" && created.Load() && listed.CompareAndSwap(false, true):
			return cut
		}
		return pass
	})
}

// The same loss costs us nothing.
func TestNoOrphan(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	loseCreateAndList(tap)
	g := lock(t, b, request("n"))
	if nodes := contenders(t, admin, chroot(t)+"/n"); len(nodes) != 1 {
		t.Errorf("nodes %q", nodes)
	}
	unlock(t, b, g)
	if nodes := contenders(t, admin, chroot(t)+"/n"); len(nodes) != 0 {
		t.Errorf("left: %q", nodes)
	}
}

// Whichever answer is lost, once or twice in a row, by the end of its connection
// or in silence: a lock that is free is granted, a waiter is served, and nothing
// is left.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := nativeUser(t, server.Addr, "app")
	for _, op := range []string{"handshake", "setAuth", "create", "createContainer", "exists", "getChildren2", "getData", "delete", "heartbeat", "setWatches"} {
		for times := int32(1); times <= 2; times++ {
			for name, how := range map[string]fate{"Cut": cut, "Silence": silence} {
				t.Run(fmt.Sprint(op, times, name), func(t *testing.T) {
					t.Parallel()
					cfg, tap := config(t, server), newTap()
					cfg.Dialer = tap.dial
					if op == "setAuth" {
						cfg.User, cfg.Password = "app", secret
					}
					b := newBackend(t, cfg)
					cfg.Dialer = nil
					other := newBackend(t, cfg)
					path := chroot(t) + "/n"
					// What is said on a new connection alone, and in a rhythm.
					again := func() {
						switch op {
						case "handshake", "setAuth", "setWatches":
							tap.hangUp()
						}
					}

					lost := tap.lose(times, how, op)
					g := lock(t, b, request("n")) // chroot and container are missing
					behind := queue(t, other, request("n"))
					again()
					eventually(t, "it is renewed", func() bool { return renew(t, b, g) == nil })
					release(t, b, g)
					g = behind.Granted(t, 30*time.Second)

					lostLater := tap.lose(times, how, op)
					waiting := queue(t, b, request("n"))
					again()
					unlock(t, other, g)
					g = waiting.Granted(t, 30*time.Second)
					release(t, b, g)
					tap.set(nil)
					if nodes := contenders(t, admin, path); len(nodes) != 0 {
						t.Errorf("left: %q", nodes)
					}
					noWait := request("n")
					noWait.NoWait = true
					unlock(t, other, lock(t, other, noWait))
					if lost.Load()+lostLater.Load() == 0 {
						t.Error("no answer was lost")
					}
				})
			}
		}
	}
}

// release unlocks as the Client does: until there is an answer.
func release(t testing.TB, b backend.Backend, g *backend.Grant) {
	t.Helper()
	unanswered := false
	eventually(t, "it is unlocked", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := b.Unlock(ctx, g)
		if errors.Is(err, backend.ErrLost) && unanswered {
			return true
		}
		unanswered = unanswered || errors.Is(err, backend.ErrUnavailable)
		if err != nil && !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("Unlock: %v", err)
		}
		return err == nil
	})
}

// G1a: a creation that arrives after its withdrawal was acknowledged makes no
// node, while other locks of the same session stay held.
func TestHazard_G1a_LateCreation(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	p := proxy.Start(t, server.Addr, proxy.ZooKeeper)
	cfg := config(t)
	cfg.Servers = []string{p.Addr()}
	b := newBackend(t, cfg)
	other := lock(t, b, request("other"))
	unlock(t, b, lock(t, b, request("n")))
	for range 5 {
		held := p.Hold(func(frame []byte) bool {
			m := parseRequest(frame)
			return m.op == "create" && strings.Contains(m.path, "/n/")
		})
		w := start(t, b, request("n"))
		<-held.Caught()
		w.Cancel()
		p.Sever() // but for the server's side
		<-w.Done
		if w.Err == nil {
			t.Fatal("a Lock whose creation is on its way was granted")
		}
		if w.Grant != nil {
			if err := b.Withdraw(bounded(t), w.Grant); err != nil {
				t.Fatal(err)
			}
		}
		late := held.Release() // it arrives, or finds the server's side closed
		if nodes := contenders(t, admin, chroot(t)+"/n"); len(nodes) != 0 {
			t.Fatalf("a request that was withdrawn made %q (%v)", nodes, late)
		}
	}
	if err := renew(t, b, other); err != nil {
		t.Errorf("another lock of the session: %v", err)
	}
	unlock(t, b, other)
}

// G2a: a lock that was granted long after the session's last heartbeat lasts no
// longer than that allows.
func TestHazard_G2a_GrantExtendsNothing(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	tap.set(func(m message) fate {
		if m.op == "heartbeat" && !m.reply {
			return swallow
		}
		return pass
	})
	req := func(name string) backend.Request { r := request(name); r.TTL = 3 * time.Second; return r }
	first := lock(t, b, req("first"))
	opened := tap.handshakes()[0].asked
	eventually(t, "time has passed", func() bool { return backend.Now().Sub(opened) > time.Second })
	second := lock(t, b, req("second"))
	if limit := opened.Add(3*time.Second + time.Millisecond); second.Until.After(limit) || first.Until.After(limit) {
		t.Errorf("locks last until %v and %v after the session was asked for, for 3 s", first.Until.Sub(opened), second.Until.Sub(opened))
	}
}

// Z2: a session never lasts longer than from the last heartbeat but two, or the
// handshake of its connection.
func TestHazard_Z2_HeartbeatsCountLate(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	var mu sync.Mutex
	var sent []time.Time
	answered := 0
	tap.set(func(m message) fate {
		mu.Lock()
		defer mu.Unlock()
		if m.op == "heartbeat" && m.reply {
			answered++
		} else if m.op == "heartbeat" {
			sent = append(sent, backend.Now())
		}
		return pass
	})
	g := lock(t, b, request("n"))
	last := g.Until
	moved := 0
	for moved < 6 {
		r := b.Renew(bounded(t), []*backend.Grant{g})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		mu.Lock()
		counts := tap.handshakes()[0].asked
		if answered >= 3 {
			counts = sent[answered-3]
		}
		mu.Unlock()
		if limit := counts.Add(g.TTL); r.Until.After(limit) {
			t.Fatalf("after %d heartbeats it lasts %v longer than from the last but two", answered, r.Until.Sub(limit))
		}
		if r.Until.After(last) {
			last = r.Until
			moved++
		}
	}
}

// Z2: what the servers grant is said, from opening the URL and from the first Lock
// after New; so is a TTL that the tick forbids.
func TestHazard_Z2_TTLNotGranted(t *testing.T) {
	t.Parallel()
	server := shared(t) // 1 s to 10 s
	for ttl, grants := range map[time.Duration]string{11 * time.Second: "10s", 800 * time.Millisecond: "1s"} {
		target, err := backend.ParseTarget("zk://" + server.Addr + "?tick=250ms")
		if err != nil {
			t.Fatal(err)
		}
		target.TTL = ttl
		if b, err := backend.Open(bounded(t), target); err == nil || !strings.Contains(err.Error(), "grant a session timeout of "+grants) {
			t.Errorf("Open with a TTL of %v: %v %v", ttl, b, err)
		}
		cfg := config(t, server)
		cfg.Tick = tick / 2
		req := request("n")
		req.TTL = ttl
		if g, err := newBackend(t, cfg).Lock(bounded(t), req); g != nil || err == nil || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), grants) {
			t.Errorf("Lock with a TTL of %v: %v %v", ttl, g, err)
		}
	}
	err := refused(bounded(t), "zk://"+server.Addr+"?ttl=5s")
	if err == nil || !strings.Contains(err.Error(), "6s") {
		t.Errorf("a TTL of 5 s with the default tick: %v", err)
	}
}

// Z3: what was asked for in a session is never done in another, though the
// driver would.
func TestHazard_Z3_RequestsOfAnOldSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	p := proxy.Start(t, server.Addr, proxy.Raw)
	cfg, tap := config(t), newTap()
	cfg.Servers, cfg.Dialer = []string{p.Addr()}, tap.dial
	b := newBackend(t, cfg)
	req, told := withLost(request("held"))
	lock(t, b, req)
	unlock(t, b, lock(t, b, request("n")))
	old := tap.handshakes()[0]
	var strangers atomic.Int32
	tap.set(func(m message) fate {
		if m.op == "create" && !m.reply && m.session != old.id {
			strangers.Add(1)
		}
		return pass
	})
	p.Refuse()
	w := start(t, b, request("n")) // asks for a node, and waits to be connected
	dials := tap.dialled()
	eventually(t, "it has asked, and the driver has tried to connect", func() bool { return tap.dialled() > dials+4 })
	tap.end(t, old, server.Addr)
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
	w.Failed(t, 10*time.Second, backend.ErrLost)
	if err := <-told; !errors.Is(err, backend.ErrLost) {
		t.Errorf("told %v", err)
	}
	if w.Grant != nil {
		if err := b.Withdraw(bounded(t), w.Grant); err != nil {
			t.Error(err)
		}
	}
	if n := strangers.Load(); n != 0 {
		t.Errorf("%d creations of the old session were sent in another", n)
	}
	if nodes := contenders(t, admin, chroot(t)+"/n"); len(nodes) != 0 {
		t.Errorf("left: %q", nodes)
	}
	next := lock(t, b, request("n")) // in a session of its own
	if next.Group == w.Grant.Group {
		t.Error("a new lock is on the old session")
	}
}

// Z3: a node with the right GUID that is not of the own session is not taken for
// one's own.
func TestHazard_Z3_NodeOfAnotherSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	var once sync.Once
	tap.set(func(m message) (f fate) {
		if m.op == "create" && !m.reply {
			once.Do(func() {
				if _, err := admin.Create(m.path, nil, zk.FlagEphemeralSequential, zk.WorldACL(zk.PermAll)); err != nil {
					t.Error(err)
				}
				f = cut // the request is lost, the other session's node is there
			})
		}
		return f
	})
	g, err := b.Lock(bounded(t), request("n"))
	if !errors.Is(err, backend.ErrLost) {
		t.Fatalf("Lock with a node of another session: %+v %v", g, err)
	}
}

// Z6: a watch on a node that is gone would stay on the server for ever.
func TestHazard_Z6_NoWatchOnWhatIsGone(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, config(t, server))
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	for range 3 {
		g := lock(t, a, request("n"))
		before := contenders(t, admin, chroot(t)+"/n")[0]
		tap.set(func(m message) fate {
			if !m.reply && m.path == before && (m.op == "getData" || m.op == "exists") {
				remove(t, admin, before) // as it is about to be watched
			}
			return pass
		})
		p := start(t, b, request("n"))
		unlock(t, b, p.Granted(t, 10*time.Second))
		tap.set(nil)
		if err := a.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
			t.Errorf("Unlock of a node that was deleted: %v", err)
		}
	}
	if watched := watches(t, server, chroot(t)+"/"); len(watched) != 0 {
		t.Errorf("watches are left on %q", watched)
	}
}

// watches lists the paths below a prefix on which the server has a watch.
func watches(t testing.TB, server *servertest.Server, prefix string) (paths []string) {
	t.Helper()
	for line := range strings.SplitSeq(fourLetters(t, server.Addr, "wchp"), "\n") {
		if strings.HasPrefix(line, prefix) {
			paths = append(paths, line)
		}
	}
	return paths
}

// G5a: a session past its local deadline is never renewed again, but ended before
// the server would, though the network has healed.
func TestHazard_G5a_GivenUpSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tappedBackend(t, server)
	req := request("n")
	req.TTL = 9 * time.Second
	g := lock(t, b, req)
	tap.set(func(m message) fate {
		if m.op == "heartbeat" && m.reply {
			return swallow // the driver's pings keep the session alive
		}
		return pass
	})
	deadline := g.Until.Add(-backend.Margin(req.TTL))
	eventually(t, "its session is given up", func() bool { return errors.Is(renew(t, b, g), backend.ErrLost) })
	if late := backend.Now().Sub(deadline); late < -50*time.Millisecond || late > 2*time.Second {
		t.Errorf("the session was given up %v after its deadline", late)
	}
	tap.set(nil)
	eventually(t, "the node is gone", func() bool { return len(contenders(t, admin, chroot(t)+"/n")) == 0 })
	if took := backend.Now().Sub(deadline); took > req.TTL/2 {
		t.Errorf("the session ended %v after its deadline, by itself perhaps", took)
	}
	next := lock(t, b, req) // on a new session
	if next.Group == g.Group || next.Token <= g.Token {
		t.Errorf("token %d after %d, session %v after %v", next.Token, g.Token, next.Group, g.Group)
	}
	unlock(t, b, next)
}

// G11a: the contenders of "a/b" are not among those of "a", and no name meets a
// node that is not a lock's.
func TestHazard_G11a_Names(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.ZooKeeper())
	admin := native(t, server.Addr)
	for _, root := range []string{"", "/app"} {
		cfg := config(t, server)
		cfg.Chroot = root
		b := newBackend(t, cfg)
		names := []string{"a", "a/b", "a/", "/a", "a//b", "..", ".", "../a", "~never", "~", "zookeeper", "zookeeper/quota", "a~2Fb", "a%2Fb", "ä", "a b", "\x00", "a\x00", strings.Repeat("/", 512)}
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
			container := root + "/" + backend.Escape(name)
			if name == "zookeeper" && root == "" {
				container = "/~7Aookeeper"
			}
			if nodes := contenders(t, admin, container); len(nodes) != 1 {
				t.Errorf("%q: nodes %q", name, nodes)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
