// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
)

// The server frees the locks of a holder whose packets vanish, no sooner than
// the holder's lease ends, and tells no one.
func TestPacketsVanish(t *testing.T) {
	t.Parallel()
	const short = 3 * time.Second
	server := servertest.Start(t, servertest.Postgres())
	client, err := locker.Open(bounded(t), urlOf(server.Addr), &locker.Config{TTL: short})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	lease, err := client.Lock(bounded(t), "vanish")
	if err != nil {
		t.Fatal(err)
	}
	waiter, err := locker.Open(bounded(t), urlOf(server.Addr), &locker.Config{TTL: short})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { waiter.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	granted := make(chan *locker.Lease, 1)
	go func() {
		next, err := waiter.Lock(ctx, "vanish")
		if err != nil {
			t.Errorf("the waiter: %v", err)
		}
		granted <- next
	}()
	admin := native(t, server.Addr)
	eventually(t, "a waiter", func() bool {
		return admin.count(t, "SELECT count(*) FROM pg_locks WHERE NOT granted AND "+isKey("vanish")) == 1
	})

	server.CutOff(t)
	cut := backend.Now()
	select {
	case <-lease.Context().Done():
	case <-time.After(short + 5*time.Second):
		t.Fatal("the lease did not end")
	}
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Fatalf("Err is %v, want ErrLost", lease.Err())
	}
	if late := backend.Now().Sub(cut.Add(short)); late > 0 {
		t.Errorf("the lease ended %v later than a TTL after the cut", late)
	}
	// The server's own timer ends both sessions meanwhile, heard or not.
	<-time.After(short)
	server.Rejoin(t)
	next := <-granted
	if next == nil {
		return
	}
	if next.Token() <= lease.Token() {
		t.Errorf("the token went from %d to %d", lease.Token(), next.Token())
	}
	if err := waiter.Unlock(ctx, next); err != nil {
		t.Error(err)
	}
}
