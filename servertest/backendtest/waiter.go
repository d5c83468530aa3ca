// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

// A Waiter is a Lock of a Client, behind one that holds.
type Waiter struct {
	Done  chan struct{} // closed when it has ended; then Lease, Err and At are set
	Lease *locker.Lease
	Err   error
	At    time.Time // when it ended, on the clock of leases
	early bool      // granted while the one before held

	Overlap string // set by a test: why two may hold the lock for a moment
}

// Behind starts a Lock of the lock that lease holds, and returns when it waits,
// as admin and the Client itself have it.
func Behind(t testing.TB, c, admin *locker.Client, lease *locker.Lease) *Waiter {
	t.Helper()
	before, err := locker.Inspect(Bounded(t), admin, lease.Name())
	if err != nil {
		t.Fatal(err)
	}
	w := &Waiter{Done: make(chan struct{})}
	go func() {
		defer close(w.Done)
		w.Lease, w.Err = c.Lock(t.Context(), lease.Name())
		w.early = w.Err == nil && lease.Err() == nil
		w.At = backend.Now()
	}()
	for _, by := range []*locker.Client{admin, c} { // c has had the answer to its Lock then
		Eventually(t, "it waits", func() bool {
			now, err := locker.Inspect(Bounded(t), by, lease.Name())
			return err == nil && now.Waiters == before.Waiters+1
		})
	}
	return w
}

// Granted returns when the waiter holds the lock, alone.
func (w *Waiter) Granted(t testing.TB, within time.Duration, after *locker.Lease) {
	t.Helper()
	select {
	case <-w.Done:
	case <-time.After(within):
		t.Fatalf("not granted within %v; the lease before it: %v", within, after.Err())
	}
	if w.Err != nil {
		t.Fatalf("the wait ended: %v", w.Err)
	}
	if w.early {
		left := after.Deadline().Sub(w.At)
		if w.Overlap == "" {
			t.Fatalf("two holders: the first would hold for %v more", left)
		}
		t.Logf("two holders for %v: %s", left, w.Overlap)
	}
	if w.Lease.Token() <= after.Token() {
		t.Fatalf("token %d after %d", w.Lease.Token(), after.Token())
	}
}
