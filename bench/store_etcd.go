// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	_ "github.com/golocker/locker/etcd" // the scheme
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// Etcd is one etcd server.
var Etcd = Store{
	Name: "etcd", Spec: servertest.Etcd(), Protocol: proxy.GRPC, Version: []string{"etcd", "--version"},
	TTL: 4 * time.Second,
	URL: func(addr string) string { return "etcd://" + addr + "/ours" },
	Limit: Limit{
		Pair: "a Put and a Delete",
		OpenPair: func(_ context.Context, addr string) (func(context.Context) error, func(), error) {
			c, err := etcdClient(addr)
			if err != nil {
				return nil, nil, err
			}
			return func(ctx context.Context) error {
				_, put := c.Put(ctx, "pair", "x")
				_, del := c.Delete(ctx, "pair")
				return errors.Join(put, del)
			}, func() { _ = c.Close() }, nil
		},
		Push:     "a Put until the watch has its event",
		OpenPush: etcdPush,
	},
	Peers: []Contestant{{
		Name: "concurrency.Mutex", Module: "go.etcd.io/etcd/client/v3", Holds: 10_000,
		Lacks: "an end of the lease that the holder notices without etcd; a session for more than one goroutine and name",
		Open: func(_ context.Context, addr string, ttl time.Duration) (Client, error) {
			c, err := etcdClient(addr)
			if err != nil {
				return nil, err
			}
			return &mutexClient{Client: c, ttl: ttl}, nil
		},
	}},
}

func etcdClient(addr string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{addr}, Logger: zap.NewNop()})
}

func etcdPush(ctx context.Context, addr string) (func(context.Context) (time.Duration, error), func(), error) {
	c, err := etcdClient(addr)
	if err != nil {
		return nil, nil, err
	}
	events := c.Watch(ctx, "push", clientv3.WithCreatedNotify())
	<-events
	return func(ctx context.Context) (time.Duration, error) {
		return pushed(func() error {
			event := <-events
			return event.Err()
		}, func() error {
			_, err := c.Put(ctx, "push", "x")
			return err
		})
	}, func() { _ = c.Close() }, nil
}

// mutexClient has as many sessions as goroutines that want one name: those that
// share a session share the lock.
type mutexClient struct {
	*clientv3.Client
	ttl      time.Duration
	mu       sync.Mutex
	sessions []*mutexSession
}

type mutexSession struct {
	*concurrency.Session
	used map[string]bool
}

func (c *mutexClient) session(name string) (*mutexSession, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if !s.used[name] {
			s.used[name] = true
			return s, nil
		}
	}
	s, err := concurrency.NewSession(c.Client, concurrency.WithTTL(int(c.ttl.Seconds())))
	if err != nil {
		return nil, err
	}
	own := &mutexSession{s, map[string]bool{name: true}}
	c.sessions = append(c.sessions, own)
	return own, nil
}

func (c *mutexClient) put(s *mutexSession, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(s.used, name)
}

func (c *mutexClient) Lock(ctx context.Context, name string) (func() error, error) {
	s, err := c.session(name)
	if err != nil {
		return nil, err
	}
	m := concurrency.NewMutex(s.Session, "theirs/"+name)
	if err := m.Lock(ctx); err != nil {
		c.put(s, name)
		return nil, err
	}
	return func() error {
		defer c.put(s, name)
		return m.Unlock(context.Background())
	}, nil
}
