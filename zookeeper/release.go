// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
)

// Unlock deletes the contender's node.
func (b *Backend) Unlock(ctx context.Context, g *backend.Grant) error {
	found, err := g.Sys.(*hold).session.remove(ctx, g)
	if err == nil && !found {
		err = lost("its node is gone")
	}
	return err
}

// Withdraw deletes the contender's node, if it was made.
func (b *Backend) Withdraw(ctx context.Context, g *backend.Grant) error {
	_, err := g.Sys.(*hold).session.remove(ctx, g)
	return err
}

// remove deletes the contender's node and says whether it was there. If it was
// asked for without an answer, it first finds out what came of that (G1a). Of a
// session that was given up it waits for the end.
func (s *session) remove(ctx context.Context, g *backend.Grant) (found bool, err error) {
	h := g.Sys.(*hold)
	s.mu.Lock()
	h.released = true
	s.mu.Unlock()
	if s.life.Err() != nil {
		select {
		case <-s.over:
			s.drop(g)
			return false, nil
		case <-ctx.Done():
			return false, s.silent(context.Cause(ctx))
		}
	}
	if err := s.settle(ctx, g); err != nil {
		return false, err
	}
	path := s.pathOf(h)
	if path == "" {
		s.drop(g)
		return false, nil
	}
	err = order(ctx, s, func(c *zk.Conn) error { return c.Delete(path, -1) })
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		return false, err
	}
	s.drop(g)
	s.b.tidy(s, h.container)
	return err == nil, nil
}
