// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest/proxy"
)

// One connection holds a thousand locks; what comes at once goes in batches.
func TestThousandLocksOnOneConnection(t *testing.T) {
	t.Parallel()
	const n, batch = 1000, 256
	server := shared(t)
	network := proxy.Start(t, server.Addr, proxy.Raw)
	b := openURL(t, urlOf(network.Addr(), "ttl=1m"))
	req := func(i int) backend.Request {
		r := request(fmt.Sprint("thousand-", i))
		r.TTL = time.Minute
		return r
	}
	unlock(t, b, lock(t, b, req(0)))
	ctx := bounded(t)

	grants := make([]*backend.Grant, n)
	begin := make(chan struct{})
	var all, ready sync.WaitGroup
	for i := range n {
		ready.Add(1)
		all.Go(func() {
			ready.Done()
			<-begin
			g, err := b.Lock(ctx, req(i))
			if err != nil {
				t.Errorf("lock %d: %v", i, err)
			}
			grants[i] = g
		})
	}
	ready.Wait()
	network.Delay(20 * time.Millisecond) // so that what comes meanwhile is one batch
	before := network.Requests()
	close(begin)
	all.Wait()
	trips := network.Requests() - before
	network.Delay(0)
	t.Logf("%d locks at once took %d writes", n, trips)
	if t.Failed() {
		return
	}
	// The first ones to come make a batch, and each write may reach the proxy in
	// a few parts of a socket's buffer.
	if most := 4 * (n/batch + 2); trips > most {
		t.Errorf("%d locks at once took %d writes, want at most %d", n, trips, most)
	}
	if open := network.Open(); open != 1 {
		t.Errorf("they took %d connections, want 1", open)
	}

	before = network.Requests()
	for _, r := range b.Renew(ctx, grants) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if trips := network.Requests() - before; trips != 1 {
		t.Errorf("the renewal of all took %d round trips, want 1", trips)
	}
	before = network.Requests()
	unlock(t, b, grants[0])
	if trips := network.Requests() - before; trips != 1 {
		t.Errorf("an unlock took %d round trips, want 1", trips)
	}
	before = network.Requests()
	grants[0] = lock(t, b, req(0))
	if trips := network.Requests() - before; trips != 1 {
		t.Errorf("a lock took %d round trips, want 1", trips)
	}
}

// However many goroutines wait, one connection for each name does.
func TestOneWaitingConnectionForEachName(t *testing.T) {
	t.Parallel()
	const names, waiters = 10, 200
	server := shared(t)
	network := proxy.Start(t, server.Addr, proxy.Raw)
	holder, admin := openURL(t, urlOf(server.Addr, "ttl=1m")), native(t, server.Addr)
	client := openClient(t, urlOf(network.Addr(), "ttl=1m"))
	name := func(i int) string { return fmt.Sprint("names-", i%names) }
	var held []*backend.Grant
	for i := range names {
		r := request(name(i))
		r.TTL = time.Minute
		held = append(held, lock(t, holder, r))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	most, inside := 0, make([]int, names)
	var mu sync.Mutex
	for i := range waiters {
		all.Go(func() {
			err := locker.Do(ctx, client, name(i), func(context.Context, *locker.Lease) error {
				mu.Lock()
				defer mu.Unlock()
				inside[i%names]++
				most = max(most, network.Open())
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", name(i), err)
			}
		})
	}
	waiting := func() (n int64) {
		for i := range names {
			n += admin.count(t, "SELECT count(*) FROM pg_locks WHERE NOT granted AND "+isKey(name(i)))
		}
		return n
	}
	eventually(t, "all names are waited for", func() bool { return waiting() == names })
	if open := network.Open(); open > 1+names {
		t.Errorf("%d goroutines that wait for %d names have %d connections, want at most %d", waiters, names, open, 1+names)
	}
	for _, g := range held {
		unlock(t, holder, g)
	}
	all.Wait()
	for i, n := range inside {
		if n != waiters/names {
			t.Errorf("%d of %d held %s", n, waiters/names, name(i))
		}
	}
	// One holds each name and one waits for it.
	if most > 1+2*names {
		t.Errorf("there were %d connections, want at most %d", most, 1+2*names)
	}
	for i := range names {
		if n := admin.locks(t, name(i)); n != 0 {
			t.Errorf("the server still has %d locks for %s", n, name(i))
		}
	}

}
