// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// sessionOf returns the session that locks the first key of a directory.
func sessionOf(t testing.TB, c *api.Client, directory string) string {
	t.Helper()
	list, err := pairsUnder(bounded(t), c, directory)
	if err != nil || len(list) == 0 {
		t.Fatalf("no key under %s: %v", directory, err)
	}
	return list[0].Session
}

func exists(t testing.TB, c *api.Client, session string) bool {
	t.Helper()
	entry, _, err := c.Session().Info(session, query(t))
	if err != nil {
		t.Fatal(err)
	}
	return entry != nil
}

// passed returns once the clock of leases has reached a time.
func passed(t testing.TB, at time.Time) {
	t.Helper()
	within(t, time.Minute, "time has passed", func() bool { return !backend.Now().Before(at) })
}

// C1: a session ends with its TTL, not with its agent. One with the default
// checks ends when gossip takes the agent for failed.
func TestHazard_C1_AgentKilled(t *testing.T) {
	t.Parallel()
	cluster := ownCluster(t)
	admin := native(t, cluster.Servers[0].Addr)
	viaAgent := native(t, cluster.Agent.Addr)
	usualSession, _, err := viaAgent.Session().Create(&api.SessionEntry{TTL: "60s"}, write(t))
	if err != nil {
		t.Fatal(err)
	}
	c, err := locker.New(newBackend(t, viaAgent, consul.Config{}), &locker.Config{TTL: usual})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lease, err := c.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	own := sessionOf(t, admin, "n/")
	cluster.Agent.Kill(t)
	killed := backend.Now()
	within(t, 25*time.Second, "a session with the default checks has ended", func() bool { return !exists(t, admin, usualSession) })
	if !exists(t, admin, own) || lease.Err() != nil {
		t.Errorf("%v after the agent was killed, at a TTL of %v: the session is there: %t; the lease: %v", backend.Now().Sub(killed), usual, exists(t, admin, own), lease.Err())
	}
	cluster.Agent.Revive(t)
	if err := c.Renew(bounded(t), lease); err != nil {
		t.Errorf("Renew after the agent's return: %v", err)
	}
	if err := c.Unlock(bounded(t), lease); err != nil {
		t.Errorf("Unlock after the agent's return: %v", err)
	}
}

// C2: a list without the own key is of a server that lags, or tells that the key
// was deleted: a consistent read decides. A list with it may be stale.
func TestHazard_C2_Verify(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b, tap := tapped(t, server)
	var stale atomic.Int32
	lag := func(kind string, r *http.Request, send sender) (*http.Response, error) {
		if kind == list && !r.URL.Query().Has("consistent") {
			stale.Add(1)
			return answer(r, http.StatusNotFound, ""), nil
		}
		return send(r.Context())
	}
	tap.set(lag)
	held := lock(t, a, request("n"))
	before := queue(t, a, request("n"))
	p := queue(t, b, request("n"))
	before.Cancel()
	<-before.Done
	if err := a.Withdraw(bounded(t), before.Grant); err != nil {
		t.Fatal(err)
	}
	// Its predecessor has gone. Who believes the list holds the lock now.
	within(t, 10*time.Second, "it has looked", func() bool { return stale.Load() == 1 })
	within(t, 10*time.Second, "it waits again", func() bool { now, _ := tap.flying(block); return now == 1 })
	select {
	case <-p.Done:
		t.Fatalf("two holders: %v", p.Err)
	default:
	}
	unlock(t, a, held)
	unlock(t, b, p.Granted(t, 10*time.Second))
	if stale.Load() != 2 {
		t.Errorf("%d lists were stale", stale.Load())
	}

	tap.set(nil)
	held = lock(t, a, request("n"))
	p = queue(t, b, request("n"))
	third := queue(t, a, request("n"))
	remove(t, admin, keys(t, admin, prefix(t)+"n/")[1])
	unlock(t, a, held)
	p.Failed(t, 10*time.Second, backend.ErrLost)
	unlock(t, a, third.Granted(t, 10*time.Second))
}

// C2: a list that still shows who has gone is asked for again, without haste.
func TestHazard_C2_StaleList(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b, tap := tapped(t, server)
	held := lock(t, a, request("n"))
	p := queue(t, b, request("n"))
	both, err := pairsUnder(bounded(t), admin, prefix(t)+"n/")
	if err != nil {
		t.Fatal(err)
	}
	stale, err := json.Marshal(both)
	if err != nil {
		t.Fatal(err)
	}
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		if kind == list {
			return answer(r, http.StatusOK, string(stale)), nil
		}
		return send(r.Context())
	})
	unlock(t, a, held)
	began := backend.Now()
	within(t, 10*time.Second, "it has looked", func() bool { return tap.count()[list] > 1 })
	passed(t, began.Add(2*time.Second))
	if n := tap.count()[list]; n > 10 {
		t.Errorf("%d lists in 2 s", n)
	}
	tap.set(nil)
	unlock(t, b, p.Granted(t, 10*time.Second))
}

// C2: the list comes in the order of the keys' names, which are random: the
// queue is in that of their creation.
func TestHazard_C2_Order(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a, b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)}), newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	held := lock(t, a, request("n"))
	var calls []*backendtest.Call
	for i := range 12 {
		req := request("n")
		req.Owner = fmt.Sprintf("%c%s", 'z'-i, req.Owner) // the later, the earlier by name
		calls = append(calls, queue(t, []backend.Backend{a, b}[i%2], req))
	}
	unlock(t, a, held)
	for i, p := range calls {
		g := p.Granted(t, 10*time.Second)
		for _, later := range calls[i+1:] {
			select {
			case <-later.Done:
				t.Fatal("two holders, or one before its turn")
			default:
			}
		}
		unlock(t, []backend.Backend{a, b}[i%2], g)
	}
}

// C2: a wait that begins after the one before has gone is told at once, even
// though its key was deleted before the blocking query came.
func TestHazard_C2_GoneBefore(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b, tap := tapped(t, server)
	held := lock(t, a, request("n"))
	caught, sent := make(chan struct{}), make(chan struct{})
	var once sync.Once
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		if kind == block {
			once.Do(func() { close(caught); <-sent })
		}
		return send(r.Context())
	})
	p := start(t, b, request("n"))
	<-caught
	unlock(t, a, held)
	close(sent)
	unlock(t, b, p.Granted(t, 5*time.Second))
}

// C3: a session whose create was not answered is found by its name, and
// destroyed by Close.
func TestHazard_C3_UnknownSession(t *testing.T) {
	t.Parallel()
	server := own(t, servertest.Consul())
	admin := native(t, server.Addr)
	tap := newTap(t)
	b := newBackend(t, native(t, server.Addr, tap.use), consul.Config{})
	stranger := newBackend(t, native(t, server.Addr), consul.Config{})
	g := lock(t, stranger, request("stranger's"))
	count := func() int {
		list, _, err := admin.Session().List(query(t))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	var lost atomic.Int32
	tap.set(loseReplies(func(kind string) bool { return kind == create && lost.Add(1) <= 2 }))
	unlock(t, b, lock(t, b, request("n")))
	if n := count(); n != 4 {
		t.Fatalf("%d sessions after two creates without an answer, want 4: two unknown ones", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d sessions after Close, want the stranger's", n)
	}
	unlock(t, stranger, g)
}

// C4: locks that are waited for may take all the connections that the agent
// gives, and renewals go on. One lock too many is an error of its own.
func TestHazard_C4_Connections(t *testing.T) {
	t.Parallel()
	const most, waiting = 24, 64
	server := own(t, servertest.Consul(fmt.Sprintf("-hcl=limits { http_max_conns_per_client = %d }", most)))
	open := func() *locker.Client {
		c, err := locker.Open(bounded(t), "consul://"+server.Addr, &locker.Config{TTL: short})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	a, b := open(), open()
	var leases []*locker.Lease
	for i := range waiting {
		lease, err := a.Lock(bounded(t), fmt.Sprint("n", i))
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, lease)
	}
	own, err := b.Lock(bounded(t), "own")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range waiting {
		all.Go(func() {
			if lease, err := b.Lock(ctx, fmt.Sprint("n", i)); err == nil {
				_ = b.Unlock(context.Background(), lease)
			}
		})
	}
	began := backend.Now()
	passed(t, began.Add(short+3*time.Second))
	for _, lease := range append(leases, own) {
		if lease.Err() != nil {
			t.Errorf("with the agent's connections used up a lease ended: %v", lease.Err())
			break
		}
	}
	cancel()
	all.Wait()
}

// C4: the number of locks that are waited for is capped, by an error that names
// the cap, leaves nothing and is not that another holds the lock.
func TestHazard_C4_Cap(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t), MaxWaiting: 2})
	var held []*backend.Grant
	var calls []*backendtest.Call
	for i := range 3 {
		held = append(held, lock(t, a, request(fmt.Sprint("n", i))))
	}
	for _, i := range []int{0, 1, 1} {
		calls = append(calls, queue(t, b, request(fmt.Sprint("n", i))))
	}
	g, err := b.Lock(bounded(t), request("n2"))
	if g != nil || err == nil || errors.Is(err, backend.ErrLocked) || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "2 locks are waited for") || !strings.Contains(err.Error(), "MaxWaiting") {
		t.Errorf("a third lock that is waited for: %v, %v", g, err)
	}
	if left := keys(t, admin, prefix(t)+"n2/"); len(left) != 1 {
		t.Errorf("keys: %q", left)
	}
	unlock(t, b, lock(t, b, request("free")))
	unlock(t, a, held[0])
	unlock(t, b, calls[0].Granted(t, 10*time.Second))
	queue(t, b, request("n2"))
}

// C5: what is gone already is told to Unlock, since a bare delete would succeed;
// and nothing else is deleted.
func TestHazard_C5_Release(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	g := lock(t, b, request("n"))
	remove(t, admin, keys(t, admin, prefix(t)+"n/")[0])
	next := lock(t, b, request("n"))
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Unlock of a key that was deleted by hand: %v", err)
	}
	if err := renew(t, b, next); err != nil {
		t.Errorf("the next one's lock: %v", err)
	}
	unlock(t, b, next)
	if err := b.Unlock(bounded(t), next); !errors.Is(err, backend.ErrLost) {
		t.Errorf("a second Unlock: %v", err)
	}
	// Released by hand, as the native API has it, the key is nobody's.
	g = lock(t, b, request("n"))
	pairs, err := pairsUnder(bounded(t), admin, prefix(t)+"n/")
	if err != nil || len(pairs) != 1 {
		t.Fatal(pairs, err)
	}
	if ok, _, err := admin.KV().Release(pairs[0], write(t)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := renew(t, b, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew of a lock that was released by hand: %v", err)
	}
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Unlock of a lock that was released by hand: %v", err)
	}
	unlock(t, b, lock(t, b, request("n")))
}

// C5: NoWait leaves nothing, even where its delete gets no answer.
func TestHazard_C5_NoWait(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b, tap := tapped(t, server)
	held := lock(t, a, request("n"))
	noWait := func() backend.Request { r := request("n"); r.NoWait = true; return r }
	if g, err := b.Lock(bounded(t), noWait()); g != nil || !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait: %v, %v", g, err)
	}
	wantRequests(t, tap, "a Lock with NoWait", map[string]int{create: 1, enqueue: 1, release: 1})
	if left := keys(t, admin, prefix(t)+"n/"); len(left) != 1 {
		t.Errorf("keys: %q", left)
	}
	tap.set(refuse(only(release)))
	g, err := b.Lock(bounded(t), noWait())
	if g == nil || !errors.Is(err, backend.ErrLocked) {
		t.Fatalf("NoWait whose key could not be deleted: %v, %v", g, err)
	}
	tap.set(nil)
	if err := b.Withdraw(bounded(t), g); err != nil {
		t.Fatal(err)
	}
	unlock(t, a, held)
	unlock(t, b, lock(t, b, noWait()))
}

// E3: an enqueue whose reply was lost is sent again, and finds its own key and
// who is before it.
func TestHazard_E3_Replay(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b, tap := tapped(t, server)
	unlock(t, b, lock(t, b, request("first")))
	var lost atomic.Int32
	tap.set(loseReplies(func(kind string) bool { return kind == enqueue && lost.Add(1)%2 == 1 }))
	noWait := request("free")
	noWait.NoWait = true
	for _, req := range []backend.Request{request("free"), noWait} {
		g := lock(t, b, req)
		if list, err := pairsUnder(bounded(t), admin, prefix(t)+"free/"); err != nil || len(list) != 1 || list[0].CreateIndex != uint64(g.Token) {
			t.Errorf("token %d of %+v: %v", g.Token, list, err)
		}
		unlock(t, b, g)
	}
	held := lock(t, a, request("held"))
	p := queue(t, b, request("held"))
	behind := queue(t, a, request("held"))
	unlock(t, a, held)
	unlock(t, b, p.Granted(t, 10*time.Second))
	held = behind.Granted(t, 10*time.Second)
	noWait = request("held")
	noWait.NoWait = true
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

// G1a: an enqueue that arrives after its withdrawal was acknowledged leaves
// nothing, while other locks of the same session stay held.
func TestHazard_G1a_LateEnqueue(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	first := request("other")
	first.TTL = short // and with it that of the session
	held := lock(t, b, first)
	for range 5 {
		caught, release := tap.hold(t, enqueue)
		req := request("n")
		req.TTL = short // so that it is not sent again after its end
		p := start(t, b, req)
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
	if err := renew(t, b, held); err != nil {
		t.Errorf("another lock of the session: %v", err)
	}
	unlock(t, b, held)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, admin, prefix(t)); len(left) != 0 {
		t.Errorf("left after Close: %q", left)
	}
}

// G1a: a try that got no answer may arrive after a later try was granted and
// unlocked. Its own tombstone is told as a loss, of which there is none else.
func TestHazard_G1a_LateTry(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	caught, release := tap.hold(t, enqueue)
	p := start(t, b, request("n"))
	<-caught
	g := p.Granted(t, 30*time.Second) // by its second try
	unlock(t, b, g)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, admin, prefix(t)+"n/"); len(left) != 0 {
		t.Fatalf("a try came after the unlock, and is in the queue: %q", left)
	}
	tap.set(nil)
	again := request("n")
	again.Owner = g.Owner
	if rest, err := b.Lock(bounded(t), again); rest != nil || !errors.Is(err, backend.ErrLost) {
		t.Errorf("a request that meets its own tombstone: %v, %v", rest, err)
	}
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("a second Unlock: %v", err)
	}
}

// G1a: a try that got no answer may arrive after the lock, which a later try was
// granted, was found to be deleted by hand. Nobody would unlock it again.
func TestHazard_G1a_LateTryOfLost(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	caught, release := tap.hold(t, enqueue)
	p := start(t, b, request("n"))
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
	t.Parallel()
	server := own(t, roomy())
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	held := lock(t, b, request("held"))
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		if kind == enqueue && strings.Contains(txnOf(r)[1].KV.Key, "/gone/") {
			return nil, errNoReply
		}
		return send(r.Context())
	})
	var all sync.WaitGroup
	for range 1001 {
		all.Go(func() {
			g, err := b.Lock(bounded(t), request("gone"))
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
	if n := len(keys(t, admin, prefix(t)+"~gone/")); n != 1001 {
		t.Errorf("%d tombstones", n)
	}
	next := lock(t, b, request("next"))
	if next.Group == held.Group {
		t.Fatal("a session with 1001 tombstones takes a new lock")
	}
	unlock(t, b, held)
	within(t, 10*time.Second, "the old session is destroyed", func() bool {
		list, _, err := admin.Session().List(query(t))
		return err == nil && len(list) == 1
	})
	if left := keys(t, admin, prefix(t)+"~gone/"); len(left) != 0 {
		t.Errorf("%d tombstones are left of a session that ended", len(left))
	}
	if err := renew(t, b, next); err != nil {
		t.Error(err)
	}
	unlock(t, b, next)
}

// G2a: a lock that was granted long after the last renewal was sent lasts no
// longer than that allows.
func TestHazard_G2a_GrantExtendsNothing(t *testing.T) {
	t.Parallel()
	b, tap := tapped(t, shared(t))
	tap.set(refuse(only(keep)))
	req := func(name string) backend.Request { r := request(name); r.TTL = short; return r }
	first := lock(t, b, req("first"))
	opened := backend.Now()
	passed(t, opened.Add(short/2))
	second := lock(t, b, req("second"))
	if limit := opened.Add(short); second.Until.After(limit) || first.Until.After(limit) {
		t.Errorf("locks last until %v and %v after the session was created for %v", first.Until.Sub(opened), second.Until.Sub(opened), short)
	}
}

// G2f: the renewal finds the one key that was deleted by hand, among hundreds;
// the end of the session is pushed.
func TestHazard_G2f_ByHand(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	var grants []*backend.Grant
	var told []chan error
	for i := range 300 {
		req, lost := withLost(request(fmt.Sprint("n", i)))
		req.TTL = 10 * time.Minute
		grants, told = append(grants, lock(t, b, req)), append(told, lost)
	}
	waiter, never := withLost(request("n0"))
	queue(t, b, waiter)
	const broken = 200
	remove(t, admin, keys(t, admin, prefix(t)+fmt.Sprint("n", broken, "/"))[0])
	tap.reset()
	for i, r := range b.Renew(bounded(t), grants) {
		if errors.Is(r.Err, backend.ErrLost) != (i == broken) || r.Err != nil && i != broken {
			t.Errorf("renewal %d: %v", i, r.Err)
		}
	}
	wantRequests(t, tap, "the renewal of 300 locks", map[string]int{look: 3})

	if _, err := admin.Session().Destroy(sessionOf(t, admin, prefix(t)+"n0/"), write(t)); err != nil {
		t.Fatal(err)
	}
	for i, lost := range told {
		if i == broken {
			continue
		}
		select {
		case err := <-lost:
			if !errors.Is(err, backend.ErrLost) {
				t.Fatalf("told %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a holder was not told of its session's end within 10 s, at a TTL of 10 min")
		}
	}
	if len(never) != 0 || len(told[broken]) != 0 {
		t.Error("who does not hold was told of a loss")
	}
	next := lock(t, b, request("n1"))
	if next.Group == grants[1].Group || next.Token <= grants[1].Token {
		t.Errorf("token %d after %d", next.Token, grants[1].Token)
	}
}

// G2f: the keys are looked for beside the renewal, not after it: one that gets no
// answer hides no loss, and a look without an answer stops no renewal. That needs
// a connection for each.
func TestHazard_G2f_BesideTheRenewal(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	var silent atomic.Value // the beginning of the paths that get no answer
	silent.Store("none")
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: server.Addr})
	forward.ErrorLog = log.New(io.Discard, "", 0) // of requests whose sender left
	forward.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, silent.Load().(string)) {
			_, _ = io.Copy(io.Discard, r.Body) // so that the sender's leave is noticed
			<-r.Context().Done()
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	b := openURL(t, "consul://"+front.Listener.Addr().String()+"/"+prefix(t))
	t.Cleanup(func() { _ = b.Close() }) // before the front
	g := lock(t, b, request("n"))
	brief := func() context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	silent.Store("/v1/txn")
	before := backend.Now()
	if r := b.Renew(brief(), []*backend.Grant{g})[0]; r.Err != nil || r.Until.Before(before.Add(g.TTL)) {
		t.Errorf("Renew while the look for keys gets no answer: %+v", r)
	}
	silent.Store("/v1/session/renew/")
	if r := b.Renew(brief(), []*backend.Grant{g})[0]; !errors.Is(r.Err, backend.ErrUnavailable) {
		t.Errorf("Renew without an answer: %+v", r)
	}
	remove(t, admin, keys(t, admin, prefix(t)+"n/")[0])
	if r := b.Renew(brief(), []*backend.Grant{g})[0]; !errors.Is(r.Err, backend.ErrLost) {
		t.Errorf("Renew of a lock whose key was deleted, while the session's renewal gets no answer: %+v", r)
	}
}

// G2f: what a server that lags, or hides the session from the token, says of its
// end is not believed.
func TestHazard_G2f_SessionUnknown(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tapped(t, server)
	var lies atomic.Int32
	req, told := withLost(request("n"))
	req.TTL = 10 * time.Minute
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		switch {
		case kind == watch && !r.URL.Query().Has("consistent") && lies.Add(1) <= 3:
			return answer(r, http.StatusOK, "[]"), nil
		case kind == watch && lies.Load() == 2: // as to a token without the right to read it
			hidden := answer(r, http.StatusOK, "[]")
			hidden.Header.Set("X-Consul-Results-Filtered-By-Acls", "true")
			return hidden, nil
		case kind == keep && lies.Add(1) > 0 && lies.Load() < 10:
			return answer(r, http.StatusNotFound, "Session id not found"), nil
		}
		return send(r.Context())
	})
	g := lock(t, b, req)
	within(t, 10*time.Second, "the session is watched", func() bool { now, _ := tap.flying(watch); return now == 1 && lies.Load() > 3 })
	if err := renew(t, b, g); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Renew of a session that the server does not know yet: %v", err)
	}
	lies.Store(10)
	if err := renew(t, b, g); err != nil || len(told) != 0 {
		t.Errorf("Renew: %v; told of a loss: %d", err, len(told))
	}
}

// G5a: a session past its local deadline is never renewed again, but destroyed
// before the server would end it, though its renewals get through again.
func TestHazard_G5a_GivenUpSession(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	req := request("n")
	req.TTL = short
	g := lock(t, b, req)
	session := sessionOf(t, admin, prefix(t)+"n/")
	tap.set(refuse(only(keep, destroy)))
	deadline := g.Until.Add(-backend.Margin(short))
	passed(t, deadline.Add(-time.Second))
	// What the server believes: that the session was just renewed.
	if _, _, err := admin.Session().Renew(session, write(t)); err != nil {
		t.Fatal(err)
	}
	passed(t, deadline)
	tap.reset()
	if err := renew(t, b, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew of a session past its deadline: %v", err)
	}
	tap.set(nil)
	late := backend.Now()
	within(t, short, "the session is destroyed", func() bool { return !exists(t, admin, session) })
	if took := backend.Now().Sub(late); took > short/2 {
		t.Errorf("the session ended after %v", took)
	}
	if n := tap.count()[keep]; n != 0 {
		t.Errorf("%d renewals after the deadline", n)
	}
	next := lock(t, b, req) // on a new session
	if next.Group == g.Group || next.Token <= g.Token {
		t.Errorf("token %d after %d, session %v after %v", next.Token, g.Token, next.Group, g.Group)
	}
	unlock(t, b, next)
}

// G11a: the contenders of "a/b" are not among those of "a", and no name meets a
// key that is not a lock's; all of them can be locked, and waited for.
func TestHazard_G11a_Names(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a, b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t), MaxWaiting: 100}), newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t), MaxWaiting: 100})
	names := []string{
		"a", "a/b", "a/", "/a", "a//b", "..", ".", "../a", "~gone", "~gone/x", "~probe", "a~2Fb", "a%2Fb", "ä", "a b", "\x00", "a\x00",
		"a?b", "a#b", "a;b", "a&b=c", "a:b", "a[b", `a\b`, `a"b`, "a+b", "?", "#", strings.Repeat("/", 512),
	}
	var held []*backend.Grant
	var calls []*backendtest.Call
	for _, name := range names {
		held = append(held, lock(t, a, request(name)))
	}
	for _, name := range names {
		calls = append(calls, queue(t, b, request(name)))
	}
	for i, g := range held {
		if err := renew(t, a, g); err != nil {
			t.Errorf("%q: %v", names[i], err)
		}
		unlock(t, a, g)
		next := calls[i].Granted(t, 10*time.Second)
		if err := renew(t, b, next); err != nil {
			t.Errorf("%q: %v", names[i], err)
		}
		unlock(t, b, next)
	}
}
