// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	_ "github.com/golocker/locker/consul" // the scheme
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// Consul is one Consul server.
var Consul = Store{
	Name: "consul", Spec: servertest.Consul("-hcl=limits { http_max_conns_per_client = 2000 }"), Protocol: proxy.HTTP,
	Version: []string{"consul", "version"},
	TTL:     10 * time.Second,
	URL:     func(addr string) string { return "consul://" + addr + "/ours" },
	Limit: Limit{
		Pair: "a KV PUT and a KV DELETE",
		OpenPair: func(_ context.Context, addr string) (func(context.Context) error, func(), error) {
			c, done, err := consulClient(addr)
			if err != nil {
				return nil, nil, err
			}
			return func(ctx context.Context) error {
				options := (&api.WriteOptions{}).WithContext(ctx)
				_, put := c.KV().Put(&api.KVPair{Key: "pair"}, options)
				_, del := c.KV().Delete("pair", options)
				return errors.Join(put, del)
			}, done, nil
		},
		Push:     "a KV PUT until the blocking query returns",
		OpenPush: consulPush,
	},
	Peers: []Contestant{{
		Name: "api.Lock", Module: "github.com/hashicorp/consul/api", Holds: 100,
		Lacks: "fencing tokens; a queue: all who wait are woken; a deadline; one session for many locks",
		Open: func(_ context.Context, addr string, ttl time.Duration) (Client, error) {
			c, done, err := consulClient(addr)
			if err != nil {
				return nil, err
			}
			return &consulLocks{c, done, max(ttl, 10*time.Second)}, nil
		},
	}},
}

func consulClient(addr string) (c *api.Client, done func(), err error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 128
	c, err = api.NewClient(&api.Config{Address: addr, HttpClient: &http.Client{Transport: transport}})
	return c, transport.CloseIdleConnections, err
}

func consulPush(_ context.Context, addr string) (func(context.Context) (time.Duration, error), func(), error) {
	c, done, err := consulClient(addr)
	if err != nil {
		return nil, nil, err
	}
	n := 0
	put := func() error { // another value each time: the same would change nothing
		n++
		_, err := c.KV().Put(&api.KVPair{Key: "push", Value: []byte(strconv.Itoa(n))}, nil)
		return err
	}
	if err := put(); err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context) (time.Duration, error) {
		pair, _, err := c.KV().Get("push", nil)
		if err != nil {
			return 0, err
		}
		query := (&api.QueryOptions{WaitIndex: pair.ModifyIndex, WaitTime: time.Minute}).WithContext(ctx)
		return pushed(func() error { _, _, err := c.KV().Get("push", query); return err }, put)
	}, done, nil
}

type consulLocks struct {
	*api.Client
	done func()
	ttl  time.Duration
}

func (c *consulLocks) Close() error { c.done(); return nil }

func (c *consulLocks) Lock(ctx context.Context, name string) (func() error, error) {
	l, err := c.LockOpts(&api.LockOptions{Key: "theirs/" + name, SessionTTL: c.ttl.String()})
	if err != nil {
		return nil, err
	}
	lost, err := l.Lock(ctx.Done())
	switch {
	case err != nil:
		return nil, err
	case lost == nil:
		return nil, ctx.Err()
	}
	return l.Unlock, nil
}
