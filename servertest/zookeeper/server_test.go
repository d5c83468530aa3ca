// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"cmp"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
	"github.com/golocker/locker/zookeeper"
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
	// tick is that of the servers, and short the least TTL with it, for what
	// waits for its end.
	tick  = 500 * time.Millisecond
	short = 2 * time.Second
	// usual is that of other requests: a busy machine keeps a session for it.
	usual = 6 * time.Second
)

var worldACL = zk.WorldACL(zk.PermAll)

func shared(t testing.TB) *servertest.Server {
	t.Helper()
	return servertest.Shared(t, servertest.ZooKeeper())
}

// chroot returns one that no other test uses.
func chroot(t testing.TB) string {
	return "/" + strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// native returns a connection of the driver's own.
func native(t testing.TB, addrs ...string) *zk.Conn {
	t.Helper()
	c, _, err := zk.Connect(addrs, 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// nativeUser returns one that has authenticated.
func nativeUser(t testing.TB, addr, user string) *zk.Conn {
	t.Helper()
	c := native(t, addr)
	if err := c.AddAuth("digest", []byte(user+":"+secret)); err != nil {
		t.Fatal(err)
	}
	return c
}

// guarded makes a node that is the user app's alone.
func guarded(t testing.TB, addr, path string) {
	t.Helper()
	c := native(t, addr)
	_, err := c.Create(path, nil, zk.FlagPersistent, zk.DigestACL(zk.PermAll, "app", secret))
	if err != nil {
		t.Fatal(err)
	}
}

func openURL(t testing.TB, rawURL string) *zookeeper.Backend {
	t.Helper()
	target, err := backend.ParseTarget(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	if target.TTL == 0 {
		target.TTL = short
	}
	b, err := backend.Open(bounded(t), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.(*zookeeper.Backend)
}

// config is that of a backend of the test's own chroot.
func config(t testing.TB, servers ...*servertest.Server) zookeeper.Config {
	cfg := zookeeper.Config{Chroot: chroot(t), Tick: tick}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.Addr)
	}
	return cfg
}

func newBackend(t testing.TB, cfg zookeeper.Config) *zookeeper.Backend {
	t.Helper()
	b, err := zookeeper.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func remove(t testing.TB, c *zk.Conn, path string) {
	t.Helper()
	if err := c.Delete(path, -1); err != nil {
		t.Fatalf("delete %s: %v", path, err)
	}
}

// children returns the paths of a node's children in the order of their numbers.
func children(c *zk.Conn, path string) ([]string, error) {
	if _, err := c.Sync(path); err != nil {
		return nil, err
	}
	names, _, err := c.Children(path)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(number(a), number(b)) })
	for i, name := range names {
		names[i] = path + "/" + name
	}
	return names, err
}

func number(node string) string { return node[max(0, len(node)-10):] }

func contenders(t testing.TB, c *zk.Conn, path string) []string {
	t.Helper()
	nodes, err := children(c, path)
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func request(name string) backend.Request {
	return backend.Request{Name: name, Owner: rand.Text(), TTL: usual}
}

// fourLetters asks a server for what an administrator may know.
func fourLetters(t testing.TB, addr, word string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(bounded(t), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, word); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
