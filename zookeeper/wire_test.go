// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"net"
	"testing"
	"time"
)

// A connection has the session from the answer to its handshake until it is closed,
// also where it is closed before that answer was read.
func TestConnected(t *testing.T) {
	w := newWire([]string{"a"}, nil, time.Minute)
	open := func() *link {
		near, far := net.Pipe()
		l := newLink(w, near)
		t.Cleanup(func() { _, _ = l.Close(), far.Close() })
		return l
	}
	has := func(when string, want *link) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		if want == nil {
			cancel()
		}
		defer cancel()
		if l, err := w.connected(ctx); l != want || (err != nil) != (want == nil) {
			t.Errorf("%s: %p, %v, want %p", when, l, err, want)
		}
	}
	first, second, third := open(), open(), open()
	has("before a handshake", nil)
	w.taken(first)
	has("after it", first)
	_ = first.Close()
	has("closed", nil)
	_ = second.Close()
	w.taken(second)
	has("closed before its handshake was read", nil)
	w.taken(third)
	has("the next", third)
	fourth := open()
	w.taken(fourth)
	_ = third.Close()
	has("the one before is closed late", fourth)
}
