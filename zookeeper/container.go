// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-zookeeper/zk"
)

// makeContainer makes the parent of a lock's contenders, and what is missing above
// it.
func (s *session) makeContainer(ctx context.Context, path string) error {
	err := s.tryContainer(ctx, path)
	if errors.Is(err, zk.ErrNoNode) {
		if err = s.makeNode(ctx, parentOf(path)); err == nil {
			err = s.tryContainer(ctx, path)
		}
	}
	return refusedAt(path, err)
}

// tryContainer makes a container or, where the server does not know them, a node
// that stays until tidy finds it empty.
func (s *session) tryContainer(ctx context.Context, path string) error {
	err := s.create(ctx, path, !s.b.noContainers.Load())
	if isUnimplemented(err) {
		s.b.noContainers.Store(true)
		err = s.create(ctx, path, false)
	}
	return err
}

// makeNode makes a node that stays, unless it is there. It needs no rights where
// there is nothing to do.
func (s *session) makeNode(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	exists, err := do(ctx, s, func(c *zk.Conn) (bool, error) {
		exists, _, err := c.Exists(path)
		return exists, err
	})
	if err != nil || exists {
		return refusedAt(path, err)
	}
	if err := s.makeNode(ctx, parentOf(path)); err != nil {
		return err
	}
	return refusedAt(path, s.create(ctx, path, false))
}

// create makes a node without a session, unless it is there.
func (s *session) create(ctx context.Context, path string, container bool) error {
	err := order(ctx, s, func(c *zk.Conn) (err error) {
		if container {
			_, err = c.CreateContainer(path, nil, zk.FlagContainer, s.b.acl())
		} else {
			_, err = c.Create(path, nil, zk.FlagPersistent, s.b.acl())
		}
		return err
	})
	if errors.Is(err, zk.ErrNodeExists) {
		return nil
	}
	return err
}

// tidy removes a lock's parent if it is empty, where the server does not do that.
// Nobody waits for it.
func (b *Backend) tidy(s *session, container string) {
	if b.noContainers.Load() {
		begin(s, func(c *zk.Conn) (struct{}, error) { return struct{}{}, c.Delete(container, -1) })
	}
}

func parentOf(path string) string { return path[:strings.LastIndexByte(path, '/')] }

func refusedAt(path string, err error) error {
	if isRefusal(err) {
		return fmt.Errorf("create %s: %w", path, err)
	}
	return err
}
