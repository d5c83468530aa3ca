// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

func shared(t testing.TB) *servertest.Server {
	t.Helper()
	return servertest.Shared(t, servertest.Etcd())
}

// prefix returns one that no other test uses.
func prefix(t testing.TB) string { return "test/" + t.Name() + "/" }

// settle returns when all have read what their new watches missed: others write to
// a server that is shared.
func settle(t testing.TB, tap *tap) {
	t.Helper()
	eventually(t, "nobody reads any more", func() bool {
		before, _, _ := tap.counts()
		time.Sleep(200 * time.Millisecond) // sleeps: nobody tells that there is no more to read
		after, _, _ := tap.counts()
		return before["Range"] == after["Range"]
	})
}

func TestUncontendedCost(t *testing.T) {
	t.Parallel()
	server, tap := shared(t), newTap()
	b := newBackend(t, native(t, server.Addr, tap.use), prefix(t))
	unlock(t, b, lock(t, b, request("first"))) // opens the session
	eventually(t, "the server's version is looked at", func() bool { unary, _, _ := tap.counts(); return unary["Status"] == 1 })
	settle(t, tap)
	tap.reset()
	g := lock(t, b, request("n"))
	if unary, sent, _ := tap.counts(); !maps.Equal(unary, map[string]int{"Txn": 1}) || sent["Watch"] != 0 {
		t.Errorf("a Lock sent %v, and on streams %v", unary, sent)
	}
	unlock(t, b, g)
	if unary, sent, _ := tap.counts(); !maps.Equal(unary, map[string]int{"Txn": 2}) || sent["Watch"] != 0 {
		t.Errorf("a Lock and an Unlock sent %v, and on streams %v", unary, sent)
	}
	req := request("n")
	req.NoWait = true
	unlock(t, b, lock(t, b, req))
	if unary, _, _ := tap.counts(); !maps.Equal(unary, map[string]int{"Txn": 4}) {
		t.Errorf("with NoWait too they sent %v", unary)
	}
}

// A hand-over is one request, one event and one read, with 2 waiters and with
// 200 of several clients. Tests that load the machine do not run beside others.
func TestHandOverCost(t *testing.T) {
	server := shared(t)
	for _, waiters := range []int{2, 200} {
		tap := newTap()
		var clients []backend.Backend
		for range 4 {
			clients = append(clients, newBackend(t, native(t, server.Addr, tap.use), prefix(t)))
		}
		name := fmt.Sprint("n", waiters)
		held := lock(t, clients[0], request(name))
		var queue4 []*backendtest.Call
		for i := range waiters {
			queue4 = append(queue4, queue(t, clients[i%len(clients)], request(name)))
		}
		eventually(t, "all watch", func() bool { _, sent, _ := tap.counts(); return sent["Watch"] >= waiters+min(waiters, len(clients)) })
		settle(t, tap)
		holder := clients[0]
		const rounds = 2
		for i := range rounds {
			tap.reset()
			unlock(t, holder, held)
			held = queue4[i].Granted(t, 30*time.Second)
			holder = clients[i%len(clients)]
			unary, _, events := tap.counts()
			delete(unary, "Status")
			if !maps.Equal(unary, map[string]int{"Txn": 1, "Range": 1}) || events != 1 {
				t.Errorf("with %d waiters a hand-over took the requests %v and %d events", waiters, unary, events)
			}
		}
		for _, p := range queue4[rounds:] {
			p.Cancel()
		}
	}
}

// Whatever a client holds, it has one lease, one stream of keep-alives and one
// of watches, and no goroutine for a lock.
func TestOneSession(t *testing.T) {
	server, tap := servertest.Start(t, servertest.Etcd()), newTap()
	b := newBackend(t, native(t, server.Addr, tap.use), "")
	req := func(i int) backend.Request {
		r := request(fmt.Sprint("n", i))
		r.TTL = time.Minute
		return r
	}
	grants := make([]*backend.Grant, 5000)
	grants[0] = lock(t, b, req(0))
	waiting := []*backendtest.Call{queue(t, b, req(0)), queue(t, b, req(0))}
	if err := renew(t, b, grants[0]); err != nil {
		t.Fatal(err)
	}
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
	if more := runtime.NumGoroutine() - before; more > 200 { // other tests run beside this one
		t.Errorf("5000 locks have %d goroutines more than one", more)
	}
	tap.set(func() {
		if tap.opened["LeaseKeepAlive"] != 1 || tap.opened["Watch"] != 1 {
			t.Errorf("streams: %v", tap.opened)
		}
	})
	admin := native(t, server.Addr)
	leases, err := admin.Leases(bounded(t))
	if err != nil || len(leases.Leases) != 1 {
		t.Errorf("leases: %v %v", leases, err)
	}
	unary, sent, _ := tap.counts()
	for i, r := range b.Renew(bounded(t), grants) {
		if r.Err != nil || !r.Until.After(grants[i].Until) {
			t.Fatalf("renewal %d: %+v, granted until %v", i, r, grants[i].Until)
		}
	}
	unary2, sent2, _ := tap.counts()
	if n, m := unary2["LeaseTimeToLive"]-unary["LeaseTimeToLive"], unary2["Range"]-unary["Range"]; n != 1 || m != 0 {
		t.Errorf("a renewal of 5000 locks asked %d times for the lease and %d times for keys", n, m)
	}
	if n := sent2["LeaseKeepAlive"] - sent["LeaseKeepAlive"]; n != 1 {
		t.Errorf("a renewal of 5000 locks sent %d keep-alives", n)
	}
	unlock(t, b, grants[0])
	unlock(t, b, waiting[0].Granted(t, 10*time.Second))
	unlock(t, b, waiting[1].Granted(t, 10*time.Second))
}

// The token is the key's creation revision, and the queue is in its order;
// requests of one client have keys of their own.
func TestTokenIsCreateRevision(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), prefix(t))
	g := lock(t, b, request("n"))
	waiting := []*backendtest.Call{queue(t, b, request("n")), queue(t, b, request("n"))}
	order := keys(t, admin, prefix(t)+"n/")
	if len(order) != 3 || len(slices.Compact(slices.Sorted(slices.Values(order)))) != 3 {
		t.Fatalf("keys of three requests: %q", order)
	}
	for i := range order {
		reply, err := admin.Get(bounded(t), order[i])
		if err != nil || len(reply.Kvs) != 1 || reply.Kvs[0].CreateRevision != g.Token {
			t.Errorf("token %d, key %v %v", g.Token, reply, err)
		}
		unlock(t, b, g)
		if i < len(waiting) {
			g = waiting[i].Granted(t, 10*time.Second)
		}
	}
}

// A hand-over takes a few times what a bare put takes to reach a watcher, and
// not the 100 ms of a watch that begins at a past revision; on a store that others
// write to all the time every revision is past.
func TestHandOverHasNoStep(t *testing.T) {
	server := servertest.Start(t, servertest.Etcd())
	for name, busy := range map[string]bool{"quiet": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			if busy {
				keepBusy(t, native(t, server.Addr))
			}
			handOverHasNoStep(t, server)
		})
	}
}

// keepBusy writes until the test ends.
func keepBusy(t testing.TB, c *clientv3.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.Put(ctx, "busy", ""); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		writers.Wait()
	})
}

func handOverHasNoStep(t *testing.T, server *servertest.Server) {
	t.Helper()
	const rounds = 40
	quartile := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/4]
	}
	watcher, writer := native(t, server.Addr), native(t, server.Addr)
	events := watcher.Watch(bounded(t), "bare", clientv3.WithCreatedNotify())
	<-events
	a, b := newBackend(t, native(t, server.Addr), ""), newBackend(t, native(t, server.Addr), "")
	var bare, handover []time.Duration
	for range rounds {
		start := backend.Now()
		if _, err := writer.Put(bounded(t), "bare", ""); err != nil {
			t.Fatal(err)
		}
		<-events
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
	t.Logf("quartiles: put to event %v, unlock to grant %v: %.1f times", quartile(bare), quartile(handover), ratio)
	if ratio > 10 {
		t.Errorf("a hand-over takes %.1f times what a put takes to reach a watcher", ratio)
	}
}
