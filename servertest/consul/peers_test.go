// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest/proxy"
)

// nativeLock returns a lock of Consul's own client.
func nativeLock(t testing.TB, c *api.Client, key string, delay time.Duration) *api.Lock {
	t.Helper()
	l, err := c.LockOpts(&api.LockOptions{Key: key, SessionTTL: short.String(), LockDelay: delay})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// acquire waits for a native lock.
func acquire(t testing.TB, l *api.Lock, within time.Duration) (lost <-chan struct{}) {
	t.Helper()
	stop := make(chan struct{})
	timer := time.AfterFunc(within, func() { close(stop) })
	defer timer.Stop()
	lost, err := l.Lock(stop)
	if err != nil || lost == nil {
		t.Fatalf("the native lock was not acquired within %v: %v", within, err)
	}
	t.Cleanup(func() { _ = l.Unlock() })
	return lost
}

// Issue 18271 of hashicorp/consul: the native holder whose packets vanish goes on
// while another has its lock, since its renewals have no deadline. Ours ends
// before its TTL is over, and the next one is granted the lock within
// Info.Reclaim.
func TestHolderCutOff(t *testing.T) {
	t.Parallel()
	server := shared(t)
	t.Run("native", func(t *testing.T) {
		t.Parallel()
		link := proxy.Start(t, server.Addr, proxy.Raw)
		key := prefix(t) + "n"
		lost := acquire(t, nativeLock(t, native(t, link.Addr()), key, time.Millisecond), 10*time.Second)
		link.BlackHole()
		acquire(t, nativeLock(t, native(t, server.Addr), key, time.Millisecond), 3*short)
		select {
		case <-lost:
			t.Fatal("the native client notices: issue 18271 is fixed, and our documents are to say so")
		default:
		}
		if err := link.Heal(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		link := proxy.Start(t, server.Addr, proxy.Raw)
		open := func(addr string) *locker.Client {
			c, err := locker.Open(bounded(t), "consul://"+addr+"/"+prefix(t), &locker.Config{TTL: short})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		a, b := open(link.Addr()), open(server.Addr)
		lease, err := a.Lock(bounded(t), "n")
		if err != nil {
			t.Fatal(err)
		}
		link.BlackHole()
		cut := backend.Now()
		next := make(chan *locker.Lease, 1)
		go func() {
			lease, err := b.Lock(t.Context(), "n")
			if err != nil {
				t.Error(err)
			}
			next <- lease
		}()
		select {
		case <-lease.Context().Done():
		case <-next:
			t.Fatal("two holders")
		}
		if took := backend.Now().Sub(cut); took > short || !errors.Is(lease.Err(), locker.ErrLost) {
			t.Errorf("after %v: %v", took, lease.Err())
		}
		reclaim := b.Info().Reclaim(short) + 3*time.Second // machines are slow
		select {
		case after := <-next:
			t.Logf("granted to the next %v after the cut, at a TTL of %v; Reclaim is %v", backend.Now().Sub(cut), short, b.Info().Reclaim(short))
			if after.Token() <= lease.Token() {
				t.Errorf("token %d after %d", after.Token(), lease.Token())
			}
		case <-time.After(reclaim - backend.Now().Sub(cut)):
			t.Errorf("not granted to the next within %v", reclaim)
		}
		if err := link.Heal(); err != nil {
			t.Fatal(err)
		}
	})
}

// Consul's lock-delay keeps a native lock from the next one for 15 s after its
// session was destroyed, and ours not at all: no key is locked twice.
func TestLockDelay(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)

	key := prefix(t) + "native"
	acquire(t, nativeLock(t, admin, key, 0), 10*time.Second)
	pair, _, err := admin.KV().Get(key, query(t))
	if err != nil {
		t.Fatal(err)
	}
	a := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	b := newBackend(t, native(t, server.Addr), consul.Config{Prefix: prefix(t)})
	req, told := withLost(request("n"))
	lock(t, a, req)
	p := queue(t, b, request("n"))
	for _, session := range []string{pair.Session, sessionOf(t, admin, prefix(t)+"n/")} {
		if _, err := admin.Session().Destroy(session, write(t)); err != nil {
			t.Fatal(err)
		}
	}
	g := p.Granted(t, 5*time.Second)
	select { // the delay is there so that it can notice
	case err := <-told:
		if !errors.Is(err, backend.ErrLost) {
			t.Errorf("told %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("who had the lock before was not told")
	}
	unlock(t, b, g)
	ended := backend.Now()
	within(t, 5*time.Second, "whose session was destroyed has the lock again", func() bool {
		g, err := a.Lock(bounded(t), request("n")) // on a new session, once it knows
		if err == nil {
			unlock(t, a, g)
		} else if !errors.Is(err, backend.ErrLost) {
			t.Fatal(err)
		}
		return err == nil
	})
	acquire(t, nativeLock(t, native(t, server.Addr), key, 0), time.Minute)
	if took := backend.Now().Sub(ended); took < 5*time.Second {
		t.Errorf("the native lock had no delay: after %v", took)
	}
}

// "consul lock" and api.Lock do not exclude us, nor we them: the documents say
// so. Their keys, and any others, are not counted as contenders.
func TestNativeDoesNotExclude(t *testing.T) {
	t.Parallel()
	server := shared(t)
	c := native(t, server.Addr)
	directory := prefix(t) + "n/"
	acquire(t, nativeLock(t, c, directory+".lock", 0), 10*time.Second)
	semaphore, err := c.SemaphorePrefix(directory+"semaphore", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := semaphore.Acquire(nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = semaphore.Release() })
	if _, err := c.KV().Put(&api.KVPair{Key: directory + "note", Value: []byte("by hand")}, write(t)); err != nil {
		t.Fatal(err)
	}
	a, b := newBackend(t, c, consul.Config{Prefix: prefix(t)}), newBackend(t, c, consul.Config{Prefix: prefix(t)})
	works(t, a, b)
	other := lock(t, a, request("other"))
	defer unlock(t, a, other)
	g := lock(t, a, request("n"))
	if state, err := b.Inspect(bounded(t), "n"); err != nil || state.Token != g.Token || state.Waiters != 0 {
		t.Errorf("%+v %v", state, err)
	}
	// The command runs its child at once, while we hold the lock of that name.
	if out := server.Exec(t, "consul", "lock", "-shell=false", prefix(t)+"other", "consul", "version"); !strings.Contains(out, "Consul v") {
		t.Errorf("consul lock printed %q", out)
	}
	unlock(t, a, g)
	if left := keys(t, c, directory); len(left) != 4 {
		t.Errorf("the keys of others: %q", left)
	}
}
