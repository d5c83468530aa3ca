// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker"
)

// zkLocks is zk.Lock of github.com/go-zookeeper/zk.
type zkLocks struct{ conn *zk.Conn }

type zkLog struct{}

func (zkLog) Printf(format string, args ...any) { slog.Debug("zk", "format", format, "args", args) }

func openZooKeeper(_ context.Context, addr string, ttl time.Duration) (library, error) {
	conn, _, err := zk.Connect(strings.Split(addr, ","), ttl, zk.WithLogger(zkLog{}))
	if err != nil {
		return nil, err
	}
	return &zkLocks{conn}, nil
}

func (z *zkLocks) lock(ctx context.Context, name string, try bool) (*held, error) {
	if try { // there is no other way to ask
		children, _, err := z.conn.Children("/peers/" + name)
		if err == nil && len(children) > 0 {
			return nil, locker.ErrLocked
		}
	}
	l := zk.NewLock(z.conn, "/peers/"+name, zk.WorldACL(zk.PermAll))
	if err := anyway(ctx, l.Lock, func() { _ = l.Unlock() }); err != nil {
		return nil, err
	}
	return &held{unlock: func(ctx context.Context) error { return anyway(ctx, l.Unlock, func() {}) }}, nil
}

func (z *zkLocks) Close() error {
	z.conn.Close()
	return nil
}
