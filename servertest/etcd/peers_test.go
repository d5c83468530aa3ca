// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/golocker/locker/backend"
)

// mutex returns one of etcd's own, with a session of its own.
func mutex(t testing.TB, c *clientv3.Client, name string) *concurrency.Mutex {
	t.Helper()
	s, err := concurrency.NewSession(c, concurrency.WithTTL(10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return concurrency.NewMutex(s, name)
}

// concurrency.Mutex excludes us and we it, and both stand in one queue.
func TestSharingWithMutex(t *testing.T) {
	t.Parallel()
	server := shared(t)
	c := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), prefix(t))
	directory := prefix(t) + "n/"
	name := strings.TrimSuffix(directory, "/")

	ours := lock(t, b, request("n"))
	if err := mutex(t, c, name).TryLock(bounded(t)); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("TryLock of a lock that we hold: %v", err)
	}
	// In the queue: theirs, ours, theirs, ours.
	type turn struct {
		who  string
		done chan error
		end  func()
	}
	var order []turn
	for i := range 4 {
		if i%2 == 0 {
			m, done := mutex(t, c, name), make(chan error, 1)
			go func() { done <- m.Lock(bounded(t)) }()
			order = append(order, turn{"theirs", done, func() {
				if err := m.Unlock(bounded(t)); err != nil {
					t.Error(err)
				}
			}})
		} else {
			p, done := queue(t, b, request("n")), make(chan error, 1)
			go func() { <-p.Done; done <- p.Err }()
			order = append(order, turn{"ours", done, func() { unlock(t, b, p.Grant) }})
		}
		eventually(t, "it is queued", func() bool { return len(keys(t, c, directory)) == i+2 })
	}
	end := func() { unlock(t, b, ours) }
	for i, next := range order {
		for _, later := range order[i:] {
			select {
			case err := <-later.done:
				t.Fatalf("%s, in the queue, was granted a lock that another holds: %v", later.who, err)
			default:
			}
		}
		end()
		select {
		case err := <-next.done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s, number %d in the queue, was not granted", next.who, i+1)
		}
		end = next.end
		noWait := request("n")
		noWait.NoWait = true
		if _, err := b.Lock(bounded(t), noWait); !errors.Is(err, backend.ErrLocked) {
			t.Errorf("NoWait while %s is held: %v", next.who, err)
		}
	}
	end()
}

// "etcdctl lock" excludes us and we it.
func TestSharingWithEtcdctl(t *testing.T) {
	t.Parallel()
	server := shared(t)
	c := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), prefix(t))
	name := prefix(t) + "n"
	run := func(cmd ...string) <-chan string {
		out := make(chan string, 1)
		go func() { out <- server.Exec(t, append([]string{"etcdctl", "lock", "--ttl", "10"}, cmd...)...) }()
		return out
	}

	ours := lock(t, b, request("n"))
	theirs := run(name, "etcdctl", "version")
	eventually(t, "etcdctl waits", func() bool { return len(keys(t, c, name+"/")) == 2 })
	select {
	case out := <-theirs:
		t.Fatalf("etcdctl got a lock that we hold: %s", out)
	default:
	}
	unlock(t, b, ours)
	if out := <-theirs; !strings.Contains(out, "etcdctl version") {
		t.Fatalf("etcdctl: %s", out)
	}

	// It holds n for as long as it waits for another, which we hold.
	other := lock(t, b, request("other"))
	theirs = run(name, "etcdctl", "lock", prefix(t)+"other", "etcdctl", "version")
	eventually(t, "etcdctl holds", func() bool { return len(keys(t, c, prefix(t)+"other/")) == 2 })
	p := queue(t, b, request("n"))
	ctx, cancel := context.WithTimeout(bounded(t), 300*time.Millisecond)
	defer cancel()
	select {
	case <-p.Done:
		t.Fatalf("we got a lock that etcdctl holds: %v", p.Err)
	case <-ctx.Done():
	}
	unlock(t, b, other)
	<-theirs
	unlock(t, b, p.Granted(t, 10*time.Second))
}

// "etcdctl lock" and we stand in one queue. Who is granted writes that down.
func TestQueueWithEtcdctl(t *testing.T) {
	t.Parallel()
	server := shared(t)
	c := native(t, server.Addr)
	b := newBackend(t, native(t, server.Addr), prefix(t))
	name, turns := prefix(t)+"n", prefix(t)+"turns"
	first := lock(t, b, request("n"))
	begin, err := c.Put(bounded(t), turns, "first")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"etcdctl 0", "ours 1", "etcdctl 2", "ours 3"}
	ended := make(chan struct{}, len(want))
	for i, turn := range want {
		if i%2 == 0 {
			go func() {
				defer func() { ended <- struct{}{} }()
				server.Exec(t, "etcdctl", "lock", "--ttl", "10", name, "etcdctl", "put", turns, turn)
			}()
		} else {
			p := queue(t, b, request("n"))
			go func() {
				defer func() { ended <- struct{}{} }()
				if <-p.Done; p.Err != nil {
					t.Errorf("%s: %v", turn, p.Err)
					return
				}
				if _, err := c.Put(bounded(t), turns, turn); err != nil {
					t.Error(err)
				}
				if err := b.Unlock(bounded(t), p.Grant); err != nil {
					t.Error(err)
				}
			}()
		}
		eventually(t, turn+" is queued", func() bool { return len(keys(t, c, name+"/")) == i+2 })
	}
	unlock(t, b, first)
	for range want {
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("not all were granted")
		}
	}
	var got []string
	for event := range c.Watch(bounded(t), turns, clientv3.WithRev(begin.Header.Revision+1)) {
		for _, e := range event.Events {
			got = append(got, string(e.Kv.Value))
		}
		if len(got) >= len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("granted in the order %q, want %q", got, want)
	}
}
