// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
)

const manyLocks = 10_000

// G10: the goroutines and the renewals of a client do not grow with the locks
// that it holds.
func TestCostOfManyLocks(t *testing.T) {
	for name, b := range map[string]func() (b backend.Backend, renewals func() int){
		"memory": func() (backend.Backend, func() int) {
			s := newStub()
			return s, func() int { return len(s.of("renew")) }
		},
		"sessionstore": func() (backend.Backend, func() int) {
			s := sessionstore.NewStore().NewBackend()
			return s, func() int { return s.Link.Requests(sessionstore.RenewSession) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, renewals := b()
				c := newClient(t, b)
				first := mustLock(t, c, "first")
				elapse(testTTL)
				goroutines := runtime.NumGoroutine()
				for i := range manyLocks {
					mustLock(t, c, strconv.Itoa(i))
				}
				synctest.Wait()
				if n := runtime.NumGoroutine() - goroutines; n > 2 {
					t.Errorf("%d more goroutines for %d locks", n, manyLocks)
				}
				before := renewals()
				elapse(2 * testTTL)
				if n := renewals() - before; n > 7 {
					t.Errorf("%d renewals in two TTLs of %d locks", n, manyLocks)
				}
				if err := first.Err(); err != nil {
					t.Errorf("lost: %v", err)
				}
				if n := runtime.NumGoroutine() - goroutines; n > 2 {
					t.Errorf("%d more goroutines after two TTLs", n)
				}
			})
		})
	}
}
