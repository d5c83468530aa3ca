// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"errors"
	"testing"
	"time"

	"github.com/golocker/locker"
)

func client(t testing.TB, rawURL string) *locker.Client {
	t.Helper()
	c, err := locker.Open(bounded(t), rawURL, &locker.Config{TTL: short})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// G5a: a renewal that the network kept until the lease was over keeps nobody out:
// the lease's grant is withdrawn.
func TestHazard_G5a_LateRenewal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	a, b := client(t, "redis://"+p.Addr()), client(t, "redis://"+s.Addr)
	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	p.BlackHole()
	<-lease.Context().Done()
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Fatalf("%v", lease.Err())
	}
	heal(t, p) // what renewals there are get through
	start := time.Now()
	next, err := b.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 2*short {
		t.Errorf("the lock was free after %v", took)
	}
	if next.Token() <= lease.Token() {
		t.Errorf("token %d after %d", next.Token(), lease.Token())
	}
	if err := b.Unlock(bounded(t), next); err != nil {
		t.Error(err)
	}
}

// A claim is confirmed at once: a lease that came by a push is held for longer
// than its claim.
func TestClaimIsConfirmed(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := client(t, "redis://"+s.Addr), client(t, "redis://"+s.Addr)
	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *locker.Lease)
	go func() {
		l, err := b.Lock(bounded(t), "n")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	eventually(t, "b waits", func() bool {
		st, err := locker.Inspect(bounded(t), a, "n")
		return err == nil && st.Waiters == 1
	})
	if err := a.Unlock(bounded(t), lease); err != nil {
		t.Fatal(err)
	}
	lease = <-got
	c := raw(t, s)
	eventually(t, "the store keeps it for the TTL", func() bool { return c.PTTL(bounded(t), "n").Val() > short*2/3 })
	start := time.Now()
	eventually(t, "three claims have passed", func() bool { return time.Since(start) > short })
	if err := lease.Err(); err != nil {
		t.Error(err)
	}
	if err := b.Unlock(bounded(t), lease); err != nil {
		t.Error(err)
	}
}
