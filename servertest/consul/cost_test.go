// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// shared is a server that takes as many connections as the tests make.
func shared(t testing.TB) *servertest.Server {
	t.Helper()
	return servertest.Shared(t, roomy())
}

// slots are for the tests that have servers of their own: all at once would keep
// two processors from serving any.
var slots = make(chan struct{}, 6)

// own starts a server of the test's own, when it is its turn.
func own(t testing.TB, spec servertest.Spec) *servertest.Server {
	t.Helper()
	slot(t)
	return servertest.Start(t, spec)
}

// ownCluster starts a cluster, when it is its turn.
func ownCluster(t testing.TB) servertest.ConsulServers {
	t.Helper()
	slot(t)
	return servertest.ConsulCluster(t)
}

// slot returns when a slot is free, which it is again after the test.
func slot(t testing.TB) {
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
}

// prefix returns one that no other test uses.
func prefix(t testing.TB) string { return "test/" + t.Name() + "/" }

// wantRequests fails the test unless the requests since the last reset are as
// wanted, but for those that come in a rhythm of their own.
func wantRequests(t testing.TB, tap *tap, what string, want map[string]int) {
	t.Helper()
	got := tap.count()
	delete(got, watch)
	delete(got, keep)
	if !maps.Equal(got, want) {
		t.Errorf("%s took the requests %v, want %v", what, got, want)
	}
}

func TestUncontendedCost(t *testing.T) {
	t.Parallel()
	b, tap := tapped(t, shared(t))
	unlock(t, b, lock(t, b, request("first"))) // opens the session
	noWait := request("n")
	noWait.NoWait = true
	for _, req := range []backend.Request{request("n"), noWait} {
		tap.reset()
		g := lock(t, b, req)
		wantRequests(t, tap, "a Lock", map[string]int{enqueue: 1})
		unlock(t, b, g)
		wantRequests(t, tap, "a Lock and an Unlock", map[string]int{enqueue: 1, release: 1})
	}
}

// A hand-over is one transaction, the end of one blocking query and one read,
// with 5 waiters and with 200 of several clients, and one write in Consul's log.
func TestHandOverCost(t *testing.T) {
	t.Parallel()
	server := own(t, roomy())
	admin := native(t, server.Addr)
	for _, waiters := range []int{5, 200} {
		tap := newTap(t)
		var clients []backend.Backend
		for range 4 {
			clients = append(clients, newBackend(t, native(t, server.Addr, tap.use), consul.Config{Prefix: prefix(t)}))
		}
		name := fmt.Sprint("n", waiters)
		held := lock(t, clients[0], request(name))
		var calls []*backendtest.Call
		for i := range waiters {
			calls = append(calls, queue(t, clients[i%len(clients)], request(name)))
		}
		queries := min(waiters, len(clients))
		settled := func() bool { now, _ := tap.flying(block); return now == queries }
		within(t, 10*time.Second, "the first of each client waits", settled)
		if _, most := tap.flying(block); most != queries {
			t.Errorf("%d clients had %d blocking queries for one lock", queries, most)
		}
		holder, fewest := clients[0], 1000
		const rounds = 4
		for i := range rounds {
			tap.reset()
			before := raftIndex(t, admin)
			unlock(t, holder, held)
			held = calls[i].Granted(t, 30*time.Second)
			fewest = min(fewest, raftIndex(t, admin)-before-1)
			holder = clients[i%len(clients)]
			if i+queries < waiters {
				within(t, 10*time.Second, "the next of the client waits", settled)
				wantRequests(t, tap, fmt.Sprintf("with %d waiters a hand-over", waiters), map[string]int{release: 1, list: 1, block: 1})
			} else {
				wantRequests(t, tap, fmt.Sprintf("with %d waiters a hand-over", waiters), map[string]int{release: 1, list: 1})
			}
		}
		if fewest != 1 { // Consul itself writes now and then
			t.Errorf("with %d waiters a hand-over took %d writes of Consul's log, or more", waiters, fewest)
		}
		for _, p := range calls {
			p.Cancel()
		}
	}
}

// raftIndex writes something, and returns the index of that.
func raftIndex(t testing.TB, c *api.Client) int {
	t.Helper()
	_, err := c.KV().Put(&api.KVPair{Key: "index", Value: []byte(time.Now().String())}, write(t))
	if err != nil {
		t.Fatal(err)
	}
	pair, _, err := c.KV().Get("index", query(t))
	if err != nil || pair == nil {
		t.Fatal(pair, err)
	}
	return int(pair.ModifyIndex)
}

// However many goroutines of one process wait for a lock, it has one blocking
// query for it, and serves them in the order in which Consul queued them.
func TestLine(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tapped(t, server)
	holder := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	held := lock(t, holder, request("n"))
	var all sync.WaitGroup
	calls := make([]*backendtest.Call, 50)
	for i := range calls { // at once: their answers come in any order
		calls[i] = start(t, b, request("n"))
		all.Go(func() { <-calls[i].Queued })
	}
	all.Wait()
	// One that loses its turn to an earlier one may still be ending its query.
	within(t, 10*time.Second, "one waits", func() bool { now, _ := tap.flying(block); return now == 1 })
	tap.reset()
	unlock(t, holder, held)
	last := held.Token
	for range calls {
		var next *backend.Grant
		within(t, 10*time.Second, "the next one has the lock", func() bool {
			for i, c := range calls {
				select {
				case <-c.Done:
					next = c.Granted(t, time.Minute)
					calls[i] = &backendtest.Call{Done: make(chan struct{})}
					return true
				default:
				}
			}
			return false
		})
		if next.Token <= last {
			t.Errorf("token %d after %d", next.Token, last)
		}
		last = next.Token
		unlock(t, b, next)
	}
	if _, most := tap.flying(block); most != 1 {
		t.Errorf("%d blocking queries at a time", most)
	}
}

// Whatever a client holds, it has one session, one connection for renewals, and
// no goroutine for a lock; it looks for 128 of its keys at a time. The test loads
// the machine, so it does not run beside others.
func TestOneSession(t *testing.T) {
	server, tap := own(t, roomy()), newTap(t)
	admin := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr, tap.use), consul.Config{})
	req := func(i int) backend.Request {
		r := request(fmt.Sprint("n", i))
		r.TTL = 10 * time.Minute
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
	if _, most := tap.flying(enqueue); most > 16 {
		t.Errorf("%d transactions at a time, which is as many connections", most)
	}
	tap.transport.CloseIdleConnections()
	if more := runtime.NumGoroutine() - before; more > 100 { // other tests' servers have some
		t.Errorf("5000 locks have %d goroutines more than one", more)
	}
	list, _, err := admin.Session().List(query(t))
	if err != nil || len(list) != 1 {
		t.Errorf("sessions: %v %v", list, err)
	}
	tap.reset()
	for i, r := range b.Renew(bounded(t), grants) {
		if r.Err != nil || r.Until.Before(grants[i].Until) {
			t.Fatalf("renewal %d: %+v, granted until %v", i, r, grants[i].Until)
		}
	}
	counts := tap.count()
	delete(counts, watch)
	if want := map[string]int{keep: 1, look: 40}; !maps.Equal(counts, want) {
		t.Errorf("a renewal of 5000 locks took the requests %v, want %v", counts, want)
	}
	unlock(t, b, grants[0])
	unlock(t, b, waiting[0].Granted(t, 10*time.Second))
	unlock(t, b, waiting[1].Granted(t, 10*time.Second))
}

// The token is the key's creation index, and the queue is in its order; requests
// of one client have keys of their own.
func TestTokenIsCreateIndex(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	g := lock(t, b, request("n"))
	waiting := []*backendtest.Call{queue(t, b, request("n")), queue(t, b, request("n"))}
	order, err := pairsUnder(bounded(t), admin, prefix(t)+"n/")
	if err != nil || len(order) != 3 {
		t.Fatalf("keys of three requests: %v %v", order, err)
	}
	for i, pair := range order {
		if uint64(g.Token) != pair.CreateIndex {
			t.Errorf("token %d, key %+v", g.Token, pair)
		}
		unlock(t, b, g)
		if i < len(waiting) {
			g = waiting[i].Granted(t, 10*time.Second)
		}
	}
	if again := lock(t, b, request("n")); again.Token <= g.Token { // all keys of the name were deleted
		t.Errorf("token %d after %d", again.Token, g.Token)
	}
}

// A hand-over takes a few times what a bare write takes to reach a blocking
// query, whatever the lock-delay.
func TestHandOverHasNoStep(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a, b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)}), newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	var took []time.Duration
	for range 20 {
		g := lock(t, a, request("n"))
		w := queue(t, b, request("n"))
		began := backend.Now()
		unlock(t, a, g)
		next := w.Granted(t, 10*time.Second)
		took = append(took, backend.Now().Sub(began))
		unlock(t, b, next)
	}
	fastest := took[0]
	for _, d := range took {
		fastest = min(fastest, d)
	}
	t.Logf("the fastest of %d hand-overs took %v", len(took), fastest)
	if fastest > 100*time.Millisecond {
		t.Errorf("the fastest hand-over took %v", fastest)
	}
}

// Namespace, partition and datacenter are in every request, and the first two
// in every operation of a transaction, which does not heed those of the request.
func TestPlaceIsPassedOn(t *testing.T) {
	t.Parallel()
	server, tap := shared(t), newTap(t)
	cfg := consul.Config{Prefix: prefix(t), Datacenter: "dc1", Namespace: "team", Partition: "part"}
	seen := map[string]bool{}
	var mu sync.Mutex
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		mu.Lock()
		seen[kind] = true
		mu.Unlock()
		q := r.URL.Query()
		if q.Get("dc") != "dc1" || q.Get("ns") != "team" || q.Get("partition") != "part" {
			t.Errorf("%s: %v", kind, r.URL)
		}
		q.Del("ns") // the free edition refuses them
		q.Del("partition")
		r.URL.RawQuery = q.Encode()
		if r.URL.Path != "/v1/txn" {
			return send(r.Context())
		}
		ops := txnOf(r)
		for _, op := range ops {
			if op.KV.Namespace != "team" || op.KV.Partition != "part" {
				t.Errorf("%s: %+v", kind, op.KV)
			}
		}
		return send(r.Context())
	})
	b := newBackend(t, native(t, server.Addr, tap.use), cfg)
	holder := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	held := lock(t, holder, request("n"))
	w := queue(t, b, request("n"))
	within(t, 10*time.Second, "it waits", func() bool { now, _ := tap.flying(block); return now == 1 })
	unlock(t, holder, held)
	g := w.Granted(t, 10*time.Second)
	if err := renew(t, b, g); err != nil {
		t.Error(err)
	}
	unlock(t, b, g)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, kind := range []string{enqueue, release, look, list, block, create, keep, watch, destroy} {
		if !seen[kind] {
			t.Errorf("no request of the kind %q was seen", kind)
		}
	}
}
