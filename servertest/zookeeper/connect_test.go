// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
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
			server := servertest.Start(t, servertest.ZooKeeperTLS(cert, mutual))
			host := "zks://" + server.Addr + "/tls?tick=500ms&ttl=6s"
			ca := "&ca=" + url.QueryEscape(write(t, "ca.crt", cert.CA))
			pair := "&cert=" + url.QueryEscape(write(t, "c.crt", cert.Cert)) + "&key=" + url.QueryEscape(write(t, "c.key", cert.Key))
			good := host + ca
			bad := map[string]string{ // URL → what the error says
				"zk://" + server.Addr + "?tick=500ms&ttl=6s": "handshake",
				host: "certificate",
				host + "&ca=" + url.QueryEscape(write(t, "other.crt", strangers.CA)) + pair: "certificate",
				host + ca + pair + "&server_name=example.com":                               "example.com",
			}
			if mutual {
				bad[good] = "handshake failure"
				good += pair
			}
			works(t, openURL(t, good), openURL(t, good))
			works(t, openURL(t, good+"&server_name=localhost"), openURL(t, good))
			cfg := config(t, server)
			cfg.Dialer = (&tls.Dialer{Config: cert.Client()}).DialContext
			works(t, newBackend(t, cfg), openURL(t, good[:strings.Index(good, "/tls?")]+cfg.Chroot+good[strings.Index(good, "?"):]))
			for u, says := range bad {
				if err := refused(bounded(t), u); err == nil || errors.Is(err, locker.ErrLocked) || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: %v", u, err)
				}
			}
		})
	}
}

// With a user every node that is made is for this user alone, the chroot's too.
func TestPassword(t *testing.T) {
	t.Parallel()
	server := shared(t)
	root := chroot(t) + "/a/b"
	u := "zk://app:" + secret + "@" + server.Addr + root + "?tick=500ms&ttl=6s"
	a, b := openURL(t, u), openURL(t, u)
	works(t, a, b)
	g := lock(t, a, request("n"))
	user := nativeUser(t, server.Addr, "app")
	nodes := contenders(t, user, root+"/n")
	if len(nodes) != 1 {
		t.Fatalf("nodes %q", nodes)
	}
	want := zk.DigestACL(zk.PermAll, "app", secret)
	for _, path := range []string{chroot(t), chroot(t) + "/a", root, root + "/n", nodes[0]} {
		acl, _, err := user.GetACL(path)
		if err != nil || !slices.Equal(acl, want) {
			t.Errorf("%s: %v %v", path, acl, err)
		}
	}
	stranger := native(t, server.Addr)
	if err := stranger.Delete(nodes[0], -1); !errors.Is(err, zk.ErrNoAuth) {
		t.Errorf("a stranger deletes the holder's node: %v", err)
	}
	for user, says := range map[string]string{"app:" + secret + "x@": "not authenticated", "": "not authenticated"} {
		err := refused(bounded(t), "zk://"+user+server.Addr+root+"?tick=500ms&ttl=6s")
		if !errors.Is(err, zk.ErrNoAuth) || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), secret) {
			t.Errorf("user %q: %v", user, err)
		}
	}
	unlock(t, a, g)
}

// A session's connection is lost, and with it what the server knows of the user:
// the next one has it again.
func TestPasswordAfterReconnect(t *testing.T) {
	t.Parallel()
	server := shared(t)
	cfg, tap := config(t, server), newTap()
	cfg.User, cfg.Password, cfg.Dialer = "app", secret, tap.dial
	b := newBackend(t, cfg)
	g := lock(t, b, request("held")) // has a watch
	for range 5 {
		tap.lose(1, cut, "heartbeat")
		_ = renew(t, b, g)
		release(t, b, lock(t, b, request("n")))
	}
	if len(tap.handshakes()) < 5 {
		t.Fatalf("%d connections", len(tap.handshakes()))
	}
	unlock(t, b, g)
}

// A chroot that the user may not make is said, by its path, when the URL is
// opened; one that is there needs no rights above it.
func TestChroot(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	closed := chroot(t)
	if _, err := admin.Create(closed, nil, zk.FlagPersistent, zk.WorldACL(zk.PermRead|zk.PermAdmin)); err != nil {
		t.Fatal(err)
	}
	err := refused(bounded(t), "zk://"+server.Addr+closed+"/app?tick=500ms&ttl=6s")
	if !errors.Is(err, zk.ErrNoAuth) || !strings.Contains(err.Error(), "create "+closed+"/app") {
		t.Errorf("a chroot that we may not make: %v", err)
	}
	if _, err := admin.SetACL(closed, zk.WorldACL(zk.PermAll), -1); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Create(closed+"/app", nil, zk.FlagPersistent, worldACL); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.SetACL(closed, zk.WorldACL(zk.PermRead|zk.PermAdmin), -1); err != nil {
		t.Fatal(err)
	}
	u := "zk://" + server.Addr + closed + "/app?tick=500ms&ttl=6s"
	works(t, openURL(t, u), openURL(t, u))

	// Of a Backend that New made, the first Lock makes it.
	cfg := config(t, server)
	cfg.Chroot += "-new/x/y"
	works(t, newBackend(t, cfg), newBackend(t, cfg))
}

// In a chroot that is there the user needs the right to create, and no other: a
// heartbeat that may not delete is committed, and counts, all the same.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	root := chroot(t)
	set := func(perms int32) {
		t.Helper()
		rights := append(zk.DigestACL(perms, "app", secret), zk.WorldACL(zk.PermAdmin)...)
		if _, err := admin.SetACL(root, rights, -1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := admin.Create(root, nil, zk.FlagPersistent, worldACL); err != nil {
		t.Fatal(err)
	}
	u := "zk://app:" + secret + "@" + server.Addr + root + "?tick=500ms&ttl=6s"

	set(zk.PermAll &^ zk.PermCreate)
	err := refused(bounded(t), u)
	if !errors.Is(err, zk.ErrNoAuth) || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "create "+root+"/refused") {
		t.Errorf("without the right to create: %v", err)
	}
	set(zk.PermCreate)
	a, b := openURL(t, u), openURL(t, u)
	works(t, a, b)
	g := lock(t, a, request("n"))
	until := g.Until
	eventually(t, "heartbeats have prolonged it by more than a TTL", func() bool {
		r := a.Renew(bounded(t), []*backend.Grant{g})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Until.Sub(until) > g.TTL
	})
	unlock(t, a, g)
}

// A server that is away is passed over.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	server := shared(t)
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	u := "zk://127.0.0.1:" + strconv.Itoa(port) + "," + server.Addr + chroot(t) + "?tick=500ms&ttl=6s"
	for range 3 { // they are tried in any order
		works(t, openURL(t, u), openURL(t, u))
	}
}

// Inspect tells a holder's note, before and after the first Lock of its Backend.
func TestInspect(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b, other := newBackend(t, config(t, server)), newBackend(t, config(t, server))
	req := request("n")
	req.Note = "somebody"
	g := lock(t, b, req)
	queue(t, b, request("n"))
	for _, by := range []backend.Inspector{b, other, other} {
		if state, err := by.Inspect(bounded(t), "n"); err != nil || !state.Held || state.Note != "somebody" || state.Token != g.Token || state.Waiters != 1 {
			t.Errorf("%+v %v", state, err)
		}
		if state, err := by.Inspect(bounded(t), "free"); err != nil || state.Held {
			t.Errorf("%+v %v", state, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if nodes := contenders(t, native(t, server.Addr), chroot(t)+"/n"); len(nodes) != 0 {
		t.Errorf("left after Close: %q", nodes)
	}
	if _, err := b.Lock(bounded(t), request("n")); err == nil || errors.Is(err, backend.ErrLost) {
		t.Errorf("Lock after Close: %v", err)
	}
	if _, err := b.Inspect(bounded(t), "n"); err == nil {
		t.Error("Inspect after Close succeeds")
	}
}

// failing is a connection of which one write fails.
type failing struct {
	net.Conn
	fails func(frame []byte) bool
}

func (c failing) Write(p []byte) (int, error) {
	if c.fails(p) {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// The connection ends as the user is about to be authenticated on it: the next
// one has the session, and what it holds.
func TestPasswordAfterFailedWrite(t *testing.T) {
	t.Parallel()
	server := shared(t)
	cfg, tap := config(t, server), newTap()
	var failed atomic.Int32
	cfg.User, cfg.Password = "app", secret
	cfg.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := tap.dial(ctx, network, address)
		reconnected := len(tap.handshakes()) > 0
		return failing{conn, func(frame []byte) bool {
			return reconnected && len(frame) > 12 && parseRequest(frame).op == "setAuth" && failed.Add(1) == 1
		}}, err
	}
	b := newBackend(t, cfg)
	g := lock(t, b, request("n"))
	tap.hangUp()
	eventually(t, "a write fails", func() bool { return failed.Load() > 0 })
	for range 3 {
		eventually(t, "it is renewed", func() bool {
			err := renew(t, b, g)
			if errors.Is(err, backend.ErrLost) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	unlock(t, b, g)
}
