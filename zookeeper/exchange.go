// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	// patience is how long a request that was never answered is made again.
	patience = 4 * time.Second

	firstPause = 100 * time.Millisecond
)

// A call is a request under way. The driver's requests take no context: they end
// with an answer, with their connection, or with the session.
type call[T any] struct {
	done  chan struct{} // closed when what follows is set
	value T
	err   error // not yet classified
}

func begin[T any](s *session, send func(*zk.Conn) (T, error)) *call[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return launch(s, send)
}

// launch makes a request, unless the session is being destroyed. The session's
// mutex is held.
func launch[T any](s *session, send func(*zk.Conn) (T, error)) *call[T] {
	c := &call[T]{done: make(chan struct{})}
	if s.destroying {
		c.err = zk.ErrClosing
		close(c.done)
		return c
	}
	s.calls.Go(func() {
		defer close(c.done)
		c.value, c.err = send(s.conn)
	})
	return c
}

// await returns the answer to a request, or an error once ctx ends: the request
// goes on.
func await[T any](ctx context.Context, s *session, c *call[T]) (T, error) {
	select {
	case <-c.done:
		return c.value, s.answered(c.err)
	case <-ctx.Done():
		var none T
		return none, s.silent(context.Cause(ctx))
	}
}

func do[T any](ctx context.Context, s *session, send func(*zk.Conn) (T, error)) (T, error) {
	return await(ctx, s, begin(s, send))
}

// order is do, for a request that is answered by an error or none.
func order(ctx context.Context, s *session, send func(*zk.Conn) error) error {
	_, err := do(ctx, s, func(c *zk.Conn) (struct{}, error) { return struct{}{}, send(c) })
	return err
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
