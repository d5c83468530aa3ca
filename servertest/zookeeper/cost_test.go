// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

func (t *tap) saw(tb testing.TB, what string, want map[string]int, wantEvents int) {
	tb.Helper()
	eventually(tb, what+": the watches are set, which nobody waits for", func() bool { counts, _ := t.requests(); return counts["getData"] >= want["getData"] })
	counts, events := t.requests()
	if !maps.Equal(counts, want) || events != wantEvents {
		tb.Errorf("%s: the requests %v and %d events, want %v and %d", what, counts, events, want, wantEvents)
	}
	t.reset()
}

// A lock is two requests that are sent together, one more that it does not wait
// for, and one to unlock; the server pushes that the node is gone.
func TestUncontendedCost(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	unlock(t, b, lock(t, b, request("n"))) // opens the session, makes the container
	noWait := request("n")
	noWait.NoWait = true
	for _, req := range []backend.Request{request("n"), noWait} {
		eventually(t, "what came before is over", func() bool { return len(watches(t, shared(t), chroot(t)+"/")) == 0 })
		tap.reset()
		g := lock(t, b, req)
		tap.saw(t, "Lock", map[string]int{"create": 1, "getChildren2": 1, "getData": 1}, 0)
		unlock(t, b, g)
		tap.saw(t, "Unlock", map[string]int{"delete": 1}, 1)
	}
}

// The request for the list leaves before the answer to the creation has come, so
// that Lock takes the time of one answer.
func TestLockTakesOneRoundTrip(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	unlock(t, b, lock(t, b, request("n")))
	var mu sync.Mutex
	open, together := false, false
	tap.set(func(m message) fate {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case m.op == "create":
			open = !m.reply
		case m.op == "getChildren2" && !m.reply:
			together = together || open
		}
		return pass
	})
	for range 20 {
		unlock(t, b, lock(t, b, request("n")))
	}
	mu.Lock()
	defer mu.Unlock()
	if !together {
		t.Error("of 20 lists none was asked for before the answer to the creation")
	}
}

// A list that was made before the node is not believed: it is asked for again.
// With it a client would be first in a queue in which it is not.
func TestListOvertakesCreation(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, config(t, server))
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	var swapped atomic.Int32
	tap.set(func(m message) fate {
		if m.op != "create" || m.reply {
			return pass
		}
		swapped.Add(1)
		return overtaken
	})
	for range 10 {
		held := lock(t, a, request("n"))
		noWait := request("n")
		noWait.NoWait = true
		if g, err := b.Lock(bounded(t), noWait); !errors.Is(err, backend.ErrLocked) {
			t.Fatalf("NoWait while another holds: %+v %v", g, err)
		}
		p := queue(t, b, request("n"))
		unlock(t, a, held)
		g := p.Granted(t, 10*time.Second)
		if g.Token <= held.Token {
			t.Errorf("token %d after %d", g.Token, held.Token)
		}
		unlock(t, b, g)

		g = lock(t, b, request("n")) // alone
		if nodes := contenders(t, admin, chroot(t)+"/n"); len(nodes) != 1 {
			t.Errorf("nodes %q", nodes)
		} else if _, stat, err := admin.Exists(nodes[0]); err != nil || stat.Czxid != g.Token {
			t.Errorf("token %d, made by %d %v", g.Token, stat.Czxid, err)
		}
		unlock(t, b, g)
	}
	if swapped.Load() < 30 {
		t.Errorf("%d creations were overtaken", swapped.Load())
	}
}

// A hand-over is the deletion, an event, and one list, with 2 waiters and with 200
// of several clients; the former holder and the waiter are told of the deletion.
// Tests that load the machine do not run beside others.
func TestHandOverCost(t *testing.T) {
	server := shared(t)
	for _, waiters := range []int{2, 200} {
		cfg, tap := config(t, server), newTap()
		cfg.Dialer = tap.dial
		var clients []backend.Backend
		for range 4 {
			clients = append(clients, newBackend(t, cfg))
		}
		name := fmt.Sprint("n", waiters)
		req := func() backend.Request { r := request(name); r.TTL = 10 * time.Second; return r }
		held := lock(t, clients[0], req())
		var line []*backendtest.Call
		for i := range waiters {
			line = append(line, queue(t, clients[i%len(clients)], req()))
		}
		// Each waiter watches its own node and the one before it; the clients share
		// no node, except that the first one's own is watched for both.
		eventually(t, "all watch", func() bool { counts, _ := tap.requests(); return counts["getData"] >= 2*waiters })
		holder := clients[0]
		const rounds = 2
		for i := range rounds {
			tap.reset()
			unlock(t, holder, held)
			held = line[i].Granted(t, 30*time.Second)
			events := 2
			if holder == clients[i%len(clients)] {
				events = 1 // the former holder's client is the waiter's
			}
			tap.saw(t, fmt.Sprintf("a hand-over with %d waiters", waiters), map[string]int{"delete": 1, "getChildren2": 1}, events)
			holder = clients[i%len(clients)]
		}
		for _, p := range line[rounds:] {
			p.Cancel()
		}
	}
}

// Waits that are given up leave one watch on the node before them, not one each.
func TestGivenUpWaitsShareAWatch(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a := newBackend(t, config(t, server))
	b, tap := tappedBackend(t, server)
	g := lock(t, a, request("n"))
	before := contenders(t, native(t, server.Addr), chroot(t)+"/n")[0]
	var mu sync.Mutex
	watched := 0
	tap.set(func(m message) fate {
		mu.Lock()
		defer mu.Unlock()
		if m.op == "getData" && m.path == before && !m.reply {
			watched++
		}
		return pass
	})
	for range 20 {
		p := queue(t, b, request("n"))
		p.Cancel()
		<-p.Done
		if err := b.Withdraw(bounded(t), p.Grant); err != nil {
			t.Fatal(err)
		}
	}
	p := queue(t, b, request("n"))
	unlock(t, a, g)
	unlock(t, b, p.Granted(t, 10*time.Second))
	mu.Lock()
	defer mu.Unlock()
	if watched != 1 {
		t.Errorf("%d watches were set on one node", watched)
	}
}

// Whatever a client holds, it has one session, one connection, one heartbeat six
// times in a TTL, and no goroutine for a lock.
func TestOneSession(t *testing.T) {
	server := servertest.Start(t, servertest.ZooKeeper())
	b, tap := tappedBackend(t, server)
	const ttl = 10 * time.Second
	req := func(i int) backend.Request {
		r := request(fmt.Sprint("n", i))
		r.TTL = ttl
		return r
	}
	grants := make([]*backend.Grant, 5000)
	grants[0] = lock(t, b, req(0))
	waiting := []*backendtest.Call{queue(t, b, req(0)), queue(t, b, req(0))}
	before := runtime.NumGoroutine()

	var all sync.WaitGroup
	next := make(chan int)
	for range 32 {
		all.Go(func() {
			for i := range next {
				g, err := b.Lock(bounded(t), req(i))
				if err != nil {
					t.Error(err)
				}
				grants[i] = g
			}
		})
	}
	for i := 1; i < len(grants); i++ {
		next <- i
	}
	close(next)
	all.Wait()
	if t.Failed() {
		return
	}
	// Each node has its watch, which the one behind it shares.
	eventually(t, "the watches are set", func() bool { return tap.count("getData") >= len(grants)+len(waiting) })
	eventually(t, "no request is under way", func() bool { return runtime.NumGoroutine() < before+50 })
	tap.mu.Lock()
	connections := tap.connections
	tap.mu.Unlock()
	if connections != 1 {
		t.Errorf("%d connections", connections)
	}

	tap.reset()
	since := backend.Now()
	for i, r := range b.Renew(bounded(t), grants) {
		if r.Err != nil {
			t.Fatalf("renewal %d: %v", i, r.Err)
		}
	}
	if n := tap.count("heartbeat"); n > 2 {
		t.Errorf("a renewal of 5000 locks took %d heartbeats", n)
	}
	eventually(t, "half a TTL has passed", func() bool { return backend.Now().Sub(since) > ttl/2 })
	if n := tap.count("heartbeat"); n < 2 || n > 5 {
		t.Errorf("in half a TTL there were %d heartbeats for 5000 locks", n)
	}
	if counts, _ := tap.requests(); len(counts) != 0 {
		t.Errorf("holding 5000 locks took the requests %v", counts)
	}
	unlock(t, b, grants[0])
	unlock(t, b, waiting[0].Granted(t, 10*time.Second))
	unlock(t, b, waiting[1].Granted(t, 10*time.Second))
}

// The token is the zxid that made the node, and the queue is in its order. It is
// the container's pzxid where nobody else wants the lock.
func TestTokenIsCreationZxid(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b := newBackend(t, config(t, server))
	g := lock(t, b, request("n"))
	if _, stat, err := admin.Exists(chroot(t) + "/n"); err != nil || stat.Pzxid != g.Token {
		t.Errorf("token %d, pzxid %d %v", g.Token, stat.Pzxid, err)
	}
	waiting := []*backendtest.Call{queue(t, b, request("n")), queue(t, b, request("n"))}
	order := contenders(t, admin, chroot(t)+"/n")
	if len(order) != 3 || len(slices.Compact(slices.Sorted(slices.Values(order)))) != 3 {
		t.Fatalf("nodes of three requests: %q", order)
	}
	for i, node := range order {
		if _, stat, err := admin.Exists(node); err != nil || stat.Czxid != g.Token {
			t.Errorf("token %d, node %s made by %d %v", g.Token, node, stat.Czxid, err)
		}
		if state, err := b.Inspect(bounded(t), "n"); err != nil || state.Token != g.Token || state.Waiters != len(order)-1-i {
			t.Errorf("token %d: %+v %v", g.Token, state, err)
		}
		unlock(t, b, g)
		if i < len(waiting) {
			g = waiting[i].Granted(t, 10*time.Second)
		}
	}
}

// A hand-over takes a few times what a bare deletion takes to reach a watcher.
func TestHandOverHasNoStep(t *testing.T) {
	server := servertest.Start(t, servertest.ZooKeeper())
	const rounds = 40
	quartile := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/4]
	}
	watcher, writer := native(t, server.Addr), native(t, server.Addr)
	a, b := newBackend(t, config(t, server)), newBackend(t, config(t, server))
	var bare, handover []time.Duration
	for range rounds {
		if _, err := writer.Create("/bare", nil, 0, worldACL); err != nil {
			t.Fatal(err)
		}
		_, _, event, err := watcher.GetW("/bare")
		if err != nil {
			t.Fatal(err)
		}
		start := backend.Now()
		remove(t, writer, "/bare")
		<-event
		bare = append(bare, backend.Now().Sub(start))

		g := lock(t, a, request("n"))
		p := queue(t, b, request("n"))
		start = backend.Now()
		unlock(t, a, g)
		g = p.Granted(t, 10*time.Second)
		handover = append(handover, backend.Now().Sub(start))
		unlock(t, b, g)
	}
	ratio := float64(quartile(handover)) / float64(quartile(bare))
	t.Logf("quartiles: deletion to event %v, unlock to grant %v: %.1f times", quartile(bare), quartile(handover), ratio)
	if ratio > 10 {
		t.Errorf("a hand-over takes %.1f times what a deletion takes to reach a watcher", ratio)
	}
}
