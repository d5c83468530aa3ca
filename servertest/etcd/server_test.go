// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/etcd"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// The calls of a backend, as all adapters' tests make them.
var (
	bounded    = backendtest.Bounded
	lock       = backendtest.Lock
	unlock     = backendtest.Unlock
	renew      = backendtest.Renew
	start      = backendtest.Start
	queue      = backendtest.Queue
	eventually = backendtest.Eventually
	withLost   = backendtest.WithLost
	behind     = backendtest.Behind
)

const (
	// short is the least TTL that the server gives, for what waits for its end.
	short = 2 * time.Second
	// usual is that of other requests: a busy machine keeps a session for it.
	usual = 6 * time.Second
)

// native returns a client of etcd's own.
func native(t testing.TB, addr string, change ...func(*clientv3.Config)) *clientv3.Client {
	t.Helper()
	cfg := clientv3.Config{Endpoints: []string{addr}, DialTimeout: 10 * time.Second, Logger: zap.NewNop()}
	for _, f := range change {
		f(&cfg)
	}
	c, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func openURL(t testing.TB, rawURL string) *etcd.Backend {
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
	return b.(*etcd.Backend)
}

func newBackend(t testing.TB, c *clientv3.Client, prefix string) *etcd.Backend {
	t.Helper()
	b, err := etcd.New(c, &etcd.Config{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// startGuarded starts a server with authentication, where the user app may use
// the keys from a to n.
func startGuarded(t testing.TB, flags ...string) *servertest.Server {
	t.Helper()
	server := servertest.Start(t, servertest.Etcd(append([]string{"--bcrypt-cost", "4"}, flags...)...))
	admin, ctx := native(t, server.Addr), bounded(t)
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(admin.UserAdd(ctx, "root", "root"))
	check(admin.UserGrantRole(ctx, "root", "root"))
	check(admin.RoleAdd(ctx, "app"))
	check(admin.RoleGrantPermission(ctx, "app", "a", "o", clientv3.PermissionType(clientv3.PermReadWrite)))
	check(admin.UserAdd(ctx, "app", secret))
	check(admin.UserGrantRole(ctx, "app", "app"))
	check(admin.AuthEnable(ctx))
	return server
}

func remove(t testing.TB, c *clientv3.Client, key string) {
	t.Helper()
	if _, err := c.Delete(bounded(t), key); err != nil {
		t.Fatal(err)
	}
}

func keysUnder(ctx context.Context, c *clientv3.Client, prefix string) ([]string, error) {
	reply, err := c.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, kv := range reply.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys, nil
}

func keys(t testing.TB, c *clientv3.Client, prefix string) []string {
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

// leaseOf reads the lease from a contender's key.
func leaseOf(t testing.TB, c *clientv3.Client, directory string) clientv3.LeaseID {
	t.Helper()
	reply, err := c.Get(bounded(t), directory, clientv3.WithFirstCreate()...)
	if err != nil || len(reply.Kvs) == 0 {
		t.Fatalf("no key under %s: %v", directory, err)
	}
	return clientv3.LeaseID(reply.Kvs[0].Lease)
}

func endpoints(servers []*servertest.Server) string {
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, s.Addr)
	}
	return strings.Join(addrs, ",")
}
