// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest/proxy"
)

// However a wait ends, the server forgets it while the holder still holds.
func TestWaitsThatEndLeaveTheQueue(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	for name, end := range map[string]func(t *testing.T, name string){
		"cancelled": func(t *testing.T, name string) {
			w := queue(t, openURL(t, urlOf(server.Addr)), request(name))
			w.Cancel()
			<-w.Done
		},
		"MaxWait": func(t *testing.T, name string) {
			_, err := openClient(t, urlOf(server.Addr)).Lock(bounded(t), name, locker.MaxWait(2*time.Second))
			if !errors.Is(err, locker.ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("MaxWait passed: %v, want ErrLocked and DeadlineExceeded", err)
			}
		},
		// Its connections end, and nobody is left to say so by another one.
		"killed": func(t *testing.T, name string) {
			network := proxy.Start(t, server.Addr, proxy.Raw)
			w := queue(t, openURL(t, urlOf(network.Addr())), request(name))
			t.Cleanup(w.Cancel)
			network.Refuse()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := openURL(t, urlOf(server.Addr))
			held := lock(t, a, request("leave-"+name))
			end(t, "leave-"+name)
			eventually(t, "the server has the holder alone", func() bool { return admin.locks(t, "leave-"+name) == 1 })
			unlock(t, a, held)
			if n := admin.locks(t, "leave-"+name); n != 0 {
				t.Errorf("the server has %d locks", n)
			}
		})
	}
}
