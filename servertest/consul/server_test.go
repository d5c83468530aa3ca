// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest"
)

func newClient(t testing.TB, b backend.Backend, ttl time.Duration) *locker.Client {
	t.Helper()
	c, err := locker.New(b, &locker.Config{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// A server that is killed and comes back with its data keeps the session, the
// queue and the growth of tokens.
func TestRestart(t *testing.T) {
	t.Parallel()
	server := own(t, servertest.Consul())
	a, b := newBackend(t, native(t, server.Addr), consul.Config{}), newBackend(t, native(t, server.Addr), consul.Config{})
	held := lock(t, a, request("n"))
	waiting := queue(t, b, request("n"))
	free := lock(t, a, request("free"))
	unlock(t, a, free) // all keys of the name are gone
	server.Kill(t)
	server.Revive(t)
	if err := renew(t, a, held); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if again := lock(t, a, request("free")); again.Token <= free.Token {
		t.Errorf("token %d after %d", again.Token, free.Token)
	}
	unlock(t, a, held)
	if next := waiting.Granted(t, usual); next.Token <= held.Token {
		t.Errorf("token %d after %d", next.Token, held.Token)
	}
}

// C6: a snapshot is restored into the cluster that it comes from. Who is in it goes
// on, who came after it is told, though Consul answers their blocking queries with
// what was before, and the indexes go back; tokens go on growing; and what was
// unlocked since then, and is back, keeps nobody waiting.
func TestHazard_C6_SnapshotRestored(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) (admin, clients string){
		"OneServer": func(t testing.TB) (admin, clients string) {
			addr := own(t, servertest.Consul()).Addr
			return addr, addr
		},
		"ThreeServers": func(t testing.TB) (admin, clients string) {
			cluster := ownCluster(t)
			return cluster.Servers[0].Addr, cluster.Agent.Addr
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, clients := start(t)
			admin := native(t, addr)
			old, late := newBackend(t, native(t, clients), consul.Config{}), newBackend(t, native(t, clients), consul.Config{})
			restored(t, admin, old, late)
		})
	}
}

// restored has the session of old in the snapshot, and that of late not.
func restored(t *testing.T, admin *api.Client, old, late *consul.Backend) {
	a, b := newClient(t, old, usual), newClient(t, late, usual)
	held, err := a.Lock(bounded(t), "held")
	if err != nil {
		t.Fatal(err)
	}
	before := queue(t, old, request("held")) // in the snapshot
	given, left := lock(t, old, request("given")), queue(t, old, request("held"))
	saved := save(t, admin)

	unlock(t, old, given)
	left.Cancel()
	<-left.Done
	if err := old.Withdraw(bounded(t), left.Grant); err != nil {
		t.Fatal(err)
	}
	after := queue(t, late, request("held")) // and its session, not in it
	young, err := b.Lock(bounded(t), "young")
	if err != nil {
		t.Fatal(err)
	}
	newer, err := a.Lock(bounded(t), "newer") // of a session that is in it
	if err != nil {
		t.Fatal(err)
	}
	behind := queue(t, old, request("young"))
	if err := admin.Snapshot().Restore(write(t), bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-young.Context().Done():
		if !errors.Is(young.Err(), locker.ErrLost) {
			t.Errorf("the younger lease: %v", young.Err())
		}
	case <-time.After(5 * time.Second):
		t.Error("a holder that is not in the snapshot was not told within 5 s")
	}
	after.Failed(t, 5*time.Second, backend.ErrLost)
	behind.Failed(t, 5*time.Second, backend.ErrLost)
	next, err := b.Lock(bounded(t), "young")
	if err != nil || next.Token() <= young.Token() {
		t.Fatalf("token %d after %d, %v", next.Token(), young.Token(), err)
	}
	if err := a.Renew(bounded(t), held); err != nil {
		t.Errorf("a holder that is in the snapshot: %v", err)
	}
	again := start(t, late, request("given")).Granted(t, 10*time.Second)
	if again.Token <= given.Token {
		t.Errorf("token %d after %d", again.Token, given.Token)
	}
	unlock(t, late, again)
	if err := a.Unlock(bounded(t), held); err != nil {
		t.Errorf("Unlock by it: %v", err)
	}
	last := queue(t, late, request("held")) // behind the key of who left
	unlock(t, old, before.Granted(t, 10*time.Second))
	unlock(t, late, last.Granted(t, 10*time.Second))
	select {
	case <-newer.Context().Done():
		if !errors.Is(newer.Err(), locker.ErrLost) {
			t.Errorf("the newer lease: %v", newer.Err())
		}
	case <-time.After(usual/3 + 5*time.Second):
		t.Error("a holder whose key is not in the snapshot, but its session, was not told within a third of the TTL")
	}
	if err := b.Unlock(bounded(t), next); err != nil {
		t.Error(err)
	}
}

func save(t testing.TB, admin *api.Client) []byte {
	t.Helper()
	snapshot, _, err := admin.Snapshot().Save(query(t))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	saved, err := io.ReadAll(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// In another cluster a snapshot's tokens begin anew from where it was saved: the
// documents say so, since nothing can be done about it.
func TestSnapshotInNewCluster(t *testing.T) {
	t.Parallel()
	server, next := own(t, servertest.Consul()), own(t, servertest.Consul())
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{})
	first := lock(t, a, request("n"))
	unlock(t, a, first)
	saved := save(t, admin)
	var last int64
	for range 200 { // more than a new cluster writes by itself
		g := lock(t, a, request("n"))
		unlock(t, a, g)
		last = g.Token
	}
	if err := native(t, next.Addr).Snapshot().Restore(write(t), bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	b := newBackend(t, native(t, next.Addr), consul.Config{})
	var g *backend.Grant
	// It looks for that at once, and then once a minute.
	within(t, 2*time.Minute, "the new server knows its own node again, which is not in the snapshot", func() bool {
		var err error
		if g, err = b.Lock(bounded(t), request("n")); err != nil && !errors.Is(err, backend.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	if g.Token <= first.Token || g.Token >= last {
		t.Errorf("token %d in the new cluster, after %d before the snapshot and %d after it in the old one", g.Token, first.Token, last)
	}
	unlock(t, b, g)
}

// C6: what follows the end of a blocking query may fail. Nor does a query that
// comes after that use an index from before the snapshot.
func TestHazard_C6_RestoredAndAway(t *testing.T) {
	t.Parallel()
	server := own(t, servertest.Consul())
	admin := native(t, server.Addr)
	a := newBackend(t, native(t, server.Addr), consul.Config{})
	tap := newTap(t)
	b := newBackend(t, native(t, server.Addr, tap.use), consul.Config{})
	unlock(t, a, lock(t, a, request("first"))) // the sessions are in the snapshot
	unlock(t, b, lock(t, b, request("first")))
	saved := save(t, admin)
	lock(t, a, request("n"))
	p := queue(t, b, request("n"))
	within(t, 10*time.Second, "it waits", func() bool { now, _ := tap.flying(block); return now == 1 })
	tap.reset()
	tap.set(refuse(func(kind string) bool { return (kind == other || kind == list) && tap.count()[kind] < 3 }))
	if err := admin.Snapshot().Restore(write(t), bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	p.Failed(t, usual/3, backend.ErrLost) // its key is not in the snapshot
}

// C6: after no answer, one with nothing new, or one with an index that has gone
// back, the next query begins anew. The latter two have the keys looked through,
// until that is answered.
func TestHazard_C6_IndexGoesBack(t *testing.T) {
	t.Parallel()
	b, tap := tapped(t, shared(t))
	var mu sync.Mutex
	var asked []string
	indexes := []string{"5000000", "5000000", "6000000", "6000001", "5", "7", "none", "8"}
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		if kind == list && tap.count()[list] == 1 {
			return nil, errNoReply
		}
		if kind != watch {
			return send(r.Context())
		}
		mu.Lock()
		n := len(asked)
		asked = append(asked, r.URL.Query().Get("index"))
		mu.Unlock()
		if n >= len(indexes) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		if indexes[n] == "none" {
			return nil, errNoReply
		}
		alive := answer(r, http.StatusOK, `[{"ID":"x"}]`)
		alive.Header.Set("X-Consul-Index", indexes[n])
		return alive, nil
	})
	g := lock(t, b, request("n"))
	within(t, 10*time.Second, "the session is watched", func() bool { mu.Lock(); defer mu.Unlock(); return len(asked) > len(indexes) })
	mu.Lock()
	defer mu.Unlock()
	if got, want := fmt.Sprint(asked), fmt.Sprint([]string{"", "5000000", "", "6000000", "6000001", "", "7", "", "8"}); got != want {
		t.Errorf("the queries for the session had the indexes %v, want %v", got, want)
	}
	if n := tap.count()[list]; n != 3 { // after 6000000, again after 6000001, and after 7
		t.Errorf("the keys were looked through %d times", n)
	}
	if err := renew(t, b, g); err != nil {
		t.Error(err)
	}
}

// C6: that the watch ends with its time, or tells of others' sessions, is no sign
// of a snapshot, and has no keys looked through.
func TestHazard_C6_NoSign(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tapped(t, server)
	req := request("n")
	req.TTL = short
	lock(t, b, req)
	within(t, 10*time.Second, "the session is watched", func() bool { return tap.count()[watch] >= 2 })
	before := tap.count()[watch]
	began := backend.Now()
	lock(t, newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)}), request("another"))
	within(t, 3*short, "the watch has ended with its time", func() bool {
		return backend.Now().Sub(began) > short+short/16+time.Second && tap.count()[watch] > before+1
	})
	if n := tap.count()[list]; n != 0 {
		t.Errorf("the keys were looked through %d times in %d queries for the session", n, tap.count()[watch])
	}
}

// What a busy server, or one without a leader, answers ends neither a lease nor
// a wait, and a Lock tries again.
func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]struct {
		status int
		body   string
	}{
		"429":  {http.StatusTooManyRequests, "rate limit exceeded, try again later or against a different server"},
		"500":  {http.StatusInternalServerError, "No cluster leader"},
		"503":  {http.StatusServiceUnavailable, "rate limit exceeded for operation that can only be performed by the leader, try again later"},
		"html": {http.StatusOK, "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := shared(t)
			b, tap := tapped(t, server)
			c := newClient(t, b, short)
			other := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
			lease, err := c.Lock(bounded(t), "own")
			if err != nil {
				t.Fatal(err)
			}
			held := lock(t, other, request("n"))
			w := queue(t, b, request("n"))
			var troubled atomic.Int32
			tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
				if kind == block { // is answered with the rest once the wait has begun
					response, err := send(r.Context())
					if err != nil {
						return nil, err
					}
					_ = response.Body.Close()
				}
				troubled.Add(1)
				return answer(r, trouble.status, trouble.body), nil
			})
			unlock(t, other, held)
			began := backend.Now()
			within(t, 30*time.Second, "the waiter asks in vain", func() bool { return tap.count()[list] > 3 })
			passed(t, began.Add(2*time.Second))
			locked := start(t, b, request("free"))
			within(t, 10*time.Second, "a Lock is tried again", func() bool { return tap.count()[enqueue] > 4 })
			tap.set(nil)
			unlock(t, b, w.Granted(t, short))
			unlock(t, b, locked.Granted(t, short))
			if err := c.Unlock(bounded(t), lease); err != nil {
				t.Errorf("after %d answers of that kind: %v", troubled.Load(), err)
			}
		})
	}
}

// A server that limits requests grants no lock twice, and all of them in the end.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	server := own(t, servertest.Consul("-hcl=limits { request_limits { mode = \"enforcing\"  read_rate = 10  write_rate = 10 } }"))
	var holders, failed, limited atomic.Int32
	var all, drain sync.WaitGroup
	working, done := context.WithCancel(bounded(t))
	drain.Go(func() { useUp(working, native(t, server.Addr)) })
	defer drain.Wait()
	defer done()
	for range 6 {
		tap := newTap(t)
		tap.set(func(_ string, r *http.Request, send sender) (*http.Response, error) {
			response, err := send(r.Context())
			if err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable) {
				limited.Add(1)
			}
			return response, err
		})
		c := newClient(t, newBackend(t, native(t, server.Addr, tap.use), consul.Config{}), short)
		all.Go(func() {
			for n := 0; n < 5 || limited.Load() == 0 && n < 100; {
				lease, err := c.Lock(bounded(t), "n")
				if err != nil {
					failed.Add(1)
					if !errors.Is(err, backend.ErrUnavailable) {
						t.Error(err)
						return
					}
					continue
				}
				n++
				if holders.Add(1) != 1 {
					t.Error("two holders")
				}
				holders.Add(-1)
				if err := c.Unlock(bounded(t), lease); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d requests were turned away, %d calls failed", limited.Load(), failed.Load())
	if limited.Load() == 0 {
		t.Error("the server's limit was never met")
	}
}

// useUp writes, again and again, until the server's limit is met: however slow the
// machine is, others then meet it too. (A server lets a burst pass, of ten times
// what it allows for a second.)
func useUp(ctx context.Context, admin *api.Client) {
	for ctx.Err() == nil {
		_, err := admin.KV().Put(&api.KVPair{Key: "used-up"}, (&api.WriteOptions{}).WithContext(ctx))
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(230 * time.Millisecond): // which no renewal keeps step with
		}
	}
}

// Clients that acquire, give up and fail, over a network that loses one reply in
// five, leave neither a session nor a key (ShedLock's issue 340).
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	const clients, cycles = 20, 50
	server := own(t, roomy())
	admin := native(t, server.Addr)
	stay := lock(t, newBackend(t, native(t, server.Addr), consul.Config{}), request("stay"))
	var replies, lost atomic.Int32
	var all sync.WaitGroup
	for i := range clients {
		tap := newTap(t)
		tap.set(loseReplies(func(kind string) bool {
			drop := only(enqueue, release, bury, look, list, create, keep, destroy)(kind) && replies.Add(1)%5 == 0
			if drop {
				lost.Add(1)
			}
			return drop
		}))
		b, err := consul.New(native(t, server.Addr, tap.use), nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := locker.New(b, &locker.Config{TTL: short})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for n := range cycles {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(n)*time.Millisecond+time.Second)
				var opts []locker.Option
				switch n % 3 {
				case 0:
					opts = append(opts, locker.NoWait())
				case 1:
					opts = append(opts, locker.MaxWait(time.Duration(n)*time.Millisecond))
				}
				lease, err := c.Lock(ctx, strconv.Itoa((i+n)%7), opts...)
				if err == nil {
					_ = c.Unlock(ctx, lease)
				}
				cancel()
			}
			_ = c.Close()
		})
	}
	all.Wait()
	t.Logf("%d of %d replies were lost", lost.Load(), replies.Load())
	var sessions []*api.SessionEntry
	within(t, short/2, "the sessions are as before, and have not merely expired", func() bool {
		var err error
		sessions, _, err = admin.Session().List(query(t))
		return err == nil && len(sessions) == 1
	})
	if left := keys(t, admin, ""); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
	if sessions[0].ID != sessionOf(t, admin, "stay/") {
		t.Errorf("session %v", sessions[0])
	}
	_ = stay
}

// A reply that is lost keeps nobody from the lock: it is unlocked in the end.
func TestUnlockUnanswered(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, tap := tapped(t, server)
	c := newClient(t, b, short)
	lease, err := c.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int32
	tap.set(loseReplies(func(kind string) bool { return kind == release && lost.Add(1) == 1 }))
	if err := c.Unlock(bounded(t), lease); err != nil { // G7a: its second attempt finds nothing
		t.Errorf("Unlock whose first reply was lost: %v", err)
	}
	tap.set(refuse(only(release)))
	if lease, err = c.Lock(bounded(t), "n"); err != nil {
		t.Fatal(err)
	}
	if err := c.Unlock(bounded(t), lease); !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("Unlock without an answer: %v", err)
	}
	tap.set(nil)
	other := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	unlock(t, other, start(t, other, request("n")).Granted(t, short))
}
