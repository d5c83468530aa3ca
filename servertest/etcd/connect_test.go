// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/etcd"
	"github.com/golocker/locker/servertest"
)

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// works locks, waits, hands over and unlocks.
func works(t testing.TB, a, b backend.Backend) {
	t.Helper()
	g := lock(t, a, request("n"))
	p := queue(t, b, request("n"))
	if err := renew(t, a, g); err != nil {
		t.Error(err)
	}
	unlock(t, a, g)
	next := p.Granted(t, 10*time.Second)
	if next.Token <= g.Token {
		t.Errorf("token %d after %d", next.Token, g.Token)
	}
	unlock(t, b, next)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for name, mutual := range map[string]bool{"TLS": false, "mTLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert, strangers := servertest.NewCertificate(t), servertest.NewCertificate(t)
			server := servertest.Start(t, servertest.EtcdTLS(cert, mutual))
			host := "etcds://" + server.Addr + "/tls"
			ca := "ca=" + url.QueryEscape(write(t, "ca.crt", cert.CA))
			pair := "&cert=" + url.QueryEscape(write(t, "c.crt", cert.Cert)) + "&key=" + url.QueryEscape(write(t, "c.key", cert.Key))
			good := host + "?" + ca
			bad := map[string]string{ // URL → what the error says
				"etcd://" + server.Addr: "",
				host:                    "certificate",
				host + "?ca=" + url.QueryEscape(write(t, "other.crt", strangers.CA)) + pair: "certificate",
				host + "?" + ca + pair + "&server_name=example.com":                         "example.com",
			}
			if mutual {
				bad[good] = "certificate"
				good += pair
			}
			works(t, openURL(t, good), openURL(t, good))
			works(t, openURL(t, good+"&server_name=localhost"), openURL(t, good))
			for u, says := range bad {
				if err := refused(bounded(t), u); err == nil || errors.Is(err, locker.ErrLocked) || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: %v", u, err)
				}
			}
		})
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	server := startGuarded(t)
	u := "etcd://app:" + secret + "@" + server.Addr + "/app"
	works(t, openURL(t, u), openURL(t, u))
	err := refused(bounded(t), "etcd://app:"+secret+"x@"+server.Addr)
	if err == nil || !strings.Contains(err.Error(), "authentication failed") || strings.Contains(err.Error(), secret) {
		t.Errorf("a wrong password: %v", err)
	}
}

// What is wrong with a connection is said, with a password too.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"", "app:" + secret + "@"} {
		err := refused(bounded(t), "etcd://"+user+"127.0.0.1:"+strconv.Itoa(port))
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), secret) {
			t.Errorf("with user %q: %v", user, err)
		}
	}
}

// A member that is away is passed over.
func TestSeveralEndpoints(t *testing.T) {
	t.Parallel()
	server := shared(t)
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	u := "etcd://127.0.0.1:" + strconv.Itoa(port) + "," + server.Addr + "/" + t.Name()
	works(t, openURL(t, u), openURL(t, u))
}

func TestNamespace(t *testing.T) {
	t.Parallel()
	server := shared(t)
	within := prefix(t)
	spaced := func() *clientv3.Client {
		c := native(t, server.Addr)
		c.KV = namespace.NewKV(c.KV, within)
		c.Watcher = namespace.NewWatcher(c.Watcher, within)
		c.Lease = namespace.NewLease(c.Lease, within)
		return c
	}
	works(t, newBackend(t, spaced(), "p/"), newBackend(t, spaced(), "p/"))
	b, admin := newBackend(t, spaced(), "p/"), native(t, server.Addr)
	noWait := request("n")
	noWait.NoWait = true
	g := lock(t, b, noWait)
	found := keys(t, admin, within+"p/n/")
	if len(found) != 1 {
		t.Fatalf("keys %q", found)
	}
	if _, err := b.Lock(bounded(t), request2(noWait)); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait: %v", err)
	}
	if err := renew(t, b, g); err != nil {
		t.Error(err)
	}
	remove(t, admin, found[0])
	if err := renew(t, b, g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew of a lock whose key was deleted: %v", err)
	}
}

// request2 is the same request by another call.
func request2(req backend.Request) backend.Request {
	next := request(req.Name)
	next.NoWait = req.NoWait
	return next
}

// The application's client stays open, and Inspect tells a holder's note.
func TestReadyMadeClient(t *testing.T) {
	t.Parallel()
	c := native(t, shared(t).Addr)
	b := newBackend(t, c, prefix(t))
	req := request("n")
	req.Note = "somebody"
	g := lock(t, b, req)
	queue(t, b, request("n"))
	if state, err := b.Inspect(bounded(t), "n"); err != nil || !state.Held || state.Note != "somebody" || state.Token != g.Token || state.Waiters != 1 {
		t.Errorf("%+v %v", state, err)
	}
	if state, err := b.Inspect(bounded(t), "free"); err != nil || state.Held {
		t.Errorf("%+v %v", state, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, c, prefix(t)); len(left) != 0 {
		t.Errorf("left after Close: %q", left)
	}
	if _, err := b.Lock(bounded(t), request("n")); err == nil || errors.Is(err, backend.ErrLost) {
		t.Errorf("Lock after Close: %v", err)
	}
	for _, bad := range []*clientv3.Client{nil, clientv3.NewCtxClient(bounded(t))} {
		if _, err := etcd.New(bad, nil); err == nil {
			t.Error("New accepts a client without a connection")
		}
	}
}
