// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A contender of the same client waits behind a node, and so watches it, before
// the one whose it is has found out that it was made.
func TestAdoptedNodeIsWatchedAlready(t *testing.T) {
	t.Parallel()
	b, tap := tappedBackend(t, shared(t))
	unlock(t, b, lock(t, b, request("n")))
	var lost, found, watched atomic.Bool
	tap.set(func(m message) fate {
		switch {
		case m.op == "create" && m.reply && lost.CompareAndSwap(false, true):
			return cut
		case m.op == "heartbeat" && !m.reply && lost.Load() && !found.Load():
			return swallow // by which the first finds out
		case m.op == "getData" && m.reply:
			watched.Store(true)
		}
		return pass
	})
	first := start(t, b, request("n"))
	eventually(t, "the answer to its creation is lost", lost.Load)
	second := queue(t, b, request("n"))
	eventually(t, "the second watches the first's node", watched.Load)
	found.Store(true)
	tap.hangUp()
	g := first.Granted(t, 10*time.Second)
	unlock(t, b, g)
	next := second.Granted(t, 10*time.Second)
	if next.Token <= g.Token {
		t.Errorf("token %d after %d", next.Token, g.Token)
	}
	unlock(t, b, next)
}

// A node that is deleted by hand before its Lock has seen a list with it is a
// loss, after which the Client tries again.
func TestNodeDeletedBeforeItsList(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin, path := native(t, server.Addr), chroot(t)+"/n"
	b, tap := tappedBackend(t, server)
	unlock(t, b, lock(t, b, request("n")))
	var lost, deleted atomic.Bool
	tap.set(func(m message) fate {
		switch {
		case m.op != "getChildren2":
		case m.reply && lost.CompareAndSwap(false, true):
			return cut
		case !m.reply && lost.Load() && deleted.CompareAndSwap(false, true):
			nodes, err := children(admin, path)
			if err == nil && len(nodes) == 1 {
				err = admin.Delete(nodes[0], -1)
			}
			if err != nil || len(nodes) != 1 {
				t.Errorf("delete one of %q: %v", nodes, err)
			}
		}
		return pass
	})
	g, err := b.Lock(bounded(t), request("n"))
	if !errors.Is(err, backend.ErrLost) {
		t.Errorf("Lock whose node was deleted: %v", err)
	}
	if g != nil {
		if err := b.Withdraw(bounded(t), g); err != nil {
			t.Error(err)
		}
	}
}
