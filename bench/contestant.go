// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// A Client is what one process has of a lock library. Its goroutines share it.
type Client interface {
	// Lock waits for a lock.
	Lock(ctx context.Context, name string) (unlock func() error, err error)
	Close() error
}

// A Contestant is a lock library.
type Contestant struct {
	Name   string
	Module string // whose version is told
	Lacks  string // that locker has, for people
	Open   func(ctx context.Context, addr string, ttl time.Duration) (Client, error)
	Holds  int // how many locks one client holds at one time, at the most 10,000
}

// A Limit is what nobody can be faster than: bare exchanges with the store.
type Limit struct {
	Pair     string // what takes the place of a lock and an unlock, for people
	OpenPair func(ctx context.Context, addr string) (pair func(context.Context) error, done func(), err error)
	Push     string // what takes the place of a hand-over
	OpenPush func(ctx context.Context, addr string) (push func(context.Context) (time.Duration, error), done func(), err error)
}

// A Store is one that locks are taken in.
type Store struct {
	Name     string
	Spec     servertest.Spec // of its server; without one it is a directory
	Protocol proxy.Protocol
	Version  []string // the command that prints the server's version
	TTL      time.Duration
	URL      func(addr string) string
	Limit    Limit
	Peers    []Contestant
}

// Stores are all of them.
var Stores = []Store{Redis, Etcd, Postgres, ZooKeeper, Consul, File}

// start returns the address of a new server, or a directory.
func (s Store) start(t testing.TB) (addr string, server *servertest.Server) {
	t.Helper()
	if s.Spec.Server == "" {
		return t.TempDir(), nil
	}
	server = servertest.Start(t, s.Spec)
	return server.Addr, server
}

// contestants returns locker, and then its peers.
func (s Store) contestants() []Contestant {
	return append([]Contestant{{
		Name: ours, Module: "github.com/golocker/locker", Holds: 10_000,
		Open: func(ctx context.Context, addr string, ttl time.Duration) (Client, error) {
			c, err := locker.Open(ctx, s.URL(addr), &locker.Config{TTL: ttl, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return nil, err
			}
			return own{c}, nil
		},
	}}, s.Peers...)
}

const (
	ours     = "locker"
	theLimit = "limit"
	usualTTL = 30 * time.Second
)

type own struct{ *locker.Client }

func (o own) Lock(ctx context.Context, name string) (func() error, error) {
	lease, err := o.Client.Lock(ctx, name)
	if err != nil {
		return nil, err
	}
	return func() error { return o.Unlock(context.Background(), lease) }, nil
}
