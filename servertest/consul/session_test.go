// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest/backendtest"
)

// The calls of a backend, as all adapters' tests make them.
var (
	bounded  = backendtest.Bounded
	lock     = backendtest.Lock
	unlock   = backendtest.Unlock
	renew    = backendtest.Renew
	start    = backendtest.Start
	queue    = backendtest.Queue
	within   = backendtest.Within
	withLost = backendtest.WithLost
	behind   = backendtest.Behind
)

const (
	// short is the least TTL that Consul gives, for what waits for its end.
	short = 10 * time.Second
	// usual is that of other requests.
	usual = 30 * time.Second
)

// native returns a client of Consul's own.
func native(t testing.TB, addr string, change ...func(*api.Config)) *api.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 2}
	t.Cleanup(transport.CloseIdleConnections)
	config := &api.Config{Address: addr, HttpClient: &http.Client{Transport: transport}}
	for _, f := range change {
		f(config)
	}
	c, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func query(t testing.TB) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(bounded(t)) }
func write(t testing.TB) *api.WriteOptions { return (&api.WriteOptions{}).WithContext(bounded(t)) }

// grant makes a token with rules, in which %s stands for the agent's node.
func grant(t testing.TB, admin *api.Client, token, rules string) {
	t.Helper()
	node, err := admin.Agent().NodeName()
	if err != nil {
		t.Fatal(err)
	}
	policy, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: "p" + rand.Text(), Rules: fmt.Sprintf(rules, node)}, write(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := admin.ACL().TokenCreate(&api.ACLToken{SecretID: token, Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, write(t)); err != nil {
		t.Fatal(err)
	}
}

func openURL(t testing.TB, rawURL string) *consul.Backend {
	t.Helper()
	target, err := backend.ParseTarget(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	target.TTL = short
	b, err := backend.Open(bounded(t), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.(*consul.Backend)
}

func newBackend(t testing.TB, c *api.Client, cfg consul.Config) *consul.Backend {
	t.Helper()
	b, err := consul.New(c, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func remove(t testing.TB, c *api.Client, key string) {
	t.Helper()
	if _, err := c.KV().Delete(key, write(t)); err != nil {
		t.Fatal(err)
	}
}

// keysUnder returns keys in the order of their creation.
func keysUnder(ctx context.Context, c *api.Client, prefix string) ([]string, error) {
	list, err := pairsUnder(ctx, c, prefix)
	var keys []string
	for _, pair := range list {
		keys = append(keys, pair.Key)
	}
	return keys, err
}

func keys(t testing.TB, c *api.Client, prefix string) []string {
	t.Helper()
	keys, err := keysUnder(bounded(t), c, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func request(name string) backend.Request {
	return backend.Request{Name: name, Owner: rand.Text(), TTL: usual}
}

func pairsUnder(ctx context.Context, c *api.Client, prefix string) (api.KVPairs, error) {
	list, _, err := c.KV().List(prefix, (&api.QueryOptions{}).WithContext(ctx))
	slices.SortFunc(list, func(a, b *api.KVPair) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) })
	return list, err
}
