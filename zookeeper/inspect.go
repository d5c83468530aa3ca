// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"slices"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
)

// Inspect says who holds name: the contender with the lowest number, a native
// client's too, whose note is what that keeps in its node. ZooKeeper does not
// tell since when.
func (b *Backend) Inspect(ctx context.Context, name string) (backend.State, error) {
	s, done, err := b.inspecting(ctx)
	if err != nil {
		return backend.State{}, err
	}
	defer done()
	container := b.paths.container(name)
	if err := order(ctx, s, func(c *zk.Conn) error { _, err := c.Sync(container); return err }); err != nil {
		return backend.State{}, err
	}
	for {
		all, err := do(ctx, s, func(c *zk.Conn) ([]contender, error) {
			children, _, err := c.Children(container)
			return contenders(children), err
		})
		switch {
		case errors.Is(err, zk.ErrNoNode), err == nil && len(all) == 0:
			return backend.State{}, nil
		case err != nil:
			return backend.State{}, err
		}
		first := slices.MinFunc(all, func(a, b contender) int { return int(a.sequence - b.sequence) })
		state := backend.State{Held: true, Waiters: len(all) - 1}
		state.Note, state.Token, err = s.read(ctx, container+"/"+first.node)
		if !errors.Is(err, zk.ErrNoNode) { // else it has just gone
			return state, err
		}
	}
}

// read returns what a node holds, and the zxid that made it.
func (s *session) read(ctx context.Context, path string) (note string, created int64, err error) {
	type node struct {
		data []byte
		stat *zk.Stat
	}
	n, err := do(ctx, s, func(c *zk.Conn) (node, error) {
		data, stat, err := c.Get(path)
		return node{data, stat}, err
	})
	if err != nil {
		return "", 0, err
	}
	return string(n.data), n.stat.Czxid, nil
}

// inspecting returns the present session, or one that ends with done.
func (b *Backend) inspecting(ctx context.Context) (s *session, done func(), err error) {
	b.mu.Lock()
	s, done = b.current, func() {}
	if s == nil || s.ended() {
		const ticks = 5 // between the least and the greatest that servers grant by default
		if s, err = b.start(ticks * b.tick); err == nil {
			done = func() { s.stop(errClosed) }
		}
	}
	b.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if _, err = opened(ctx, s); err != nil {
		done()
		return nil, nil, err
	}
	return s, done, nil
}
