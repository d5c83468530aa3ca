// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
	_ "github.com/golocker/locker/zookeeper" // the scheme
)

// ZooKeeper is one ZooKeeper server.
var ZooKeeper = Store{
	Name: "zookeeper", Spec: servertest.ZooKeeper("maxSessionTimeout=60000"), Protocol: proxy.ZooKeeper,
	Version: []string{"bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2181; echo srvr >&3; head -1 <&3"},
	TTL:     4 * time.Second,
	URL:     func(addr string) string { return "zk://" + addr + "/ours?tick=500ms" },
	Limit: Limit{
		Pair: "a Create and a Delete",
		OpenPair: func(ctx context.Context, addr string) (func(context.Context) error, func(), error) {
			c, err := zkConn(ctx, addr, usualTTL)
			if err != nil {
				return nil, nil, err
			}
			return func(context.Context) error {
				path, err := c.Create("/pair-", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
				if err != nil {
					return err
				}
				return c.Delete(path, -1)
			}, c.Close, nil
		},
		Push:     "a Delete until the watch has its event",
		OpenPush: zkPush,
	},
	Peers: []Contestant{{
		Name: "zk.Lock", Module: "github.com/go-zookeeper/zk", Holds: 10_000,
		Lacks: "fencing tokens; news of a loss; a wait that can be given up; a lost reply leaves a node for which all wait",
		Open: func(ctx context.Context, addr string, ttl time.Duration) (Client, error) {
			c, err := zkConn(ctx, addr, ttl)
			if err != nil {
				return nil, err
			}
			return zkLocks{c}, nil
		},
	}},
}

type silent struct{}

func (silent) Printf(string, ...any) {}

func zkConn(ctx context.Context, addr string, ttl time.Duration) (*zk.Conn, error) {
	c, events, err := zk.Connect([]string{addr}, ttl, zk.WithLogger(silent{}), zk.WithLogInfo(false))
	if err != nil {
		return nil, err
	}
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return c, nil
			}
		case <-ctx.Done():
			c.Close()
			return nil, ctx.Err()
		}
	}
}

func zkPush(ctx context.Context, addr string) (func(context.Context) (time.Duration, error), func(), error) {
	var conns [2]*zk.Conn
	for i := range conns {
		var err error
		if conns[i], err = zkConn(ctx, addr, usualTTL); err != nil {
			return nil, nil, err
		}
	}
	return func(context.Context) (time.Duration, error) {
			path, err := conns[0].Create("/push-", nil, zk.FlagEphemeral|zk.FlagSequence, zk.WorldACL(zk.PermAll))
			if err != nil {
				return 0, err
			}
			_, _, events, err := conns[1].GetW(path)
			if err != nil {
				return 0, err
			}
			return pushed(func() error { return (<-events).Err }, func() error { return conns[0].Delete(path, -1) })
		}, func() {
			for _, c := range conns {
				c.Close()
			}
		}, nil
}

type zkLocks struct{ *zk.Conn }

func (z zkLocks) Close() error { z.Conn.Close(); return nil }

func (z zkLocks) Lock(ctx context.Context, name string) (func() error, error) {
	l := zk.NewLock(z.Conn, "/theirs/"+name, zk.WorldACL(zk.PermAll))
	if err := l.Lock(); err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	return l.Unlock, nil
}
