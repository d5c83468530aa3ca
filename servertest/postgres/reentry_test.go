// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest/backendtest"
)

// A waiter gives up while its own process holds the lock. That must not make the
// process forget the holder: the next caller would get the lock once more, on the
// session that has it already. A stress run found it (postgres, seed 1).
func TestWaiterThatLeavesKeepsItsProcessesHold(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]func(t *testing.T, b backend.Backend) *backend.Grant{
		"free at first": func(t *testing.T, b backend.Backend) *backend.Grant { return lock(t, b, request(t.Name())) },
		"waited for": func(t *testing.T, b backend.Backend) *backend.Grant {
			first := lock(t, b, request(t.Name()))
			w := queue(t, b, request(t.Name()))
			unlock(t, b, first)
			return w.Granted(t, backendtest.Patience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := openURL(t, urlOf(shared(t).Addr))
			held := wait(t, b)
			w := queue(t, b, request(t.Name()))
			w.Cancel()
			<-w.Done
			if !errors.Is(w.Err, context.Canceled) {
				t.Fatalf("the waiter: %v", w.Err)
			}
			if g, err := b.Lock(bounded(t), noWait(t.Name())); !errors.Is(err, backend.ErrLocked) {
				t.Fatalf("two holders: after a waiter of the same process gave up, Lock returned %v, %v", g, err)
			}
			unlock(t, b, held)
			unlock(t, b, lock(t, b, noWait(t.Name())))
		})
	}
}
