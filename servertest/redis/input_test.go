// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/redis"
	"github.com/golocker/locker/servertest"
)

// Bad input: one sentence that names the trouble, soon, without a secret.
func TestBadInput(t *testing.T) {
	t.Parallel()
	plain := startServer(t)
	guarded := startServer(t, "--requirepass", "s3cret")
	replica := startServer(t, "--replicaof", "127.0.0.1", "1")
	node := startServer(t, "--cluster-enabled", "yes")
	certs, files := certificates(t)
	encrypted := servertest.Start(t, servertest.RedisTLS(certs, "--tls-auth-clients", "yes"))
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	t.Cleanup(func() { // after the cases
		if got := keysOf(t, raw(t, plain), "*"); len(got) != 0 {
			t.Errorf("left: %q", got)
		}
	})
	loading := startNetwork(t, plain.Addr)
	loading.BlackHole()

	for _, c := range []struct {
		name, url, want string
		unavailable     bool
	}{
		{"refused", "redis://u:s3cret@127.0.0.1:1", "connection refused", true},
		{"silent", "redis://" + silent.Addr().String(), "store unavailable", true},
		{"black hole", "redis://" + loading.Addr(), "store unavailable", true},
		{"wrong password", "redis://:wr0ng@" + guarded.Addr, "WRONGPASS", false},
		{"wrong user", "redis://u:s3cret@" + guarded.Addr, "WRONGPASS", false},
		{"no password", "redis://" + guarded.Addr, "NOAUTH", false},
		{"user alone", "redis://s3cret@" + guarded.Addr, "without a password", false},
		{"replica", "redis://" + replica.Addr, "replica", false},
		{"node", "redis://" + node.Addr, "cluster=true", false},
		{"no cluster", "redis://" + plain.Addr + "?cluster=true", "cluster", false},
		{"no sentinel", "redis://" + plain.Addr + "?sentinel=m", "sentinel", false},
		{"database", "redis://" + plain.Addr + "/99", "DB index", false},
		{"TLS to a plain server", "rediss://" + plain.Addr, "store unavailable", true},
		{"plain to a TLS server", "redis://" + encrypted.Addr, "store unavailable", true},
		{"unknown authority", "rediss://" + encrypted.Addr + "?cert=" + files.cert + "&key=" + files.key, "certificate", false},
		{"wrong name", "rediss://" + encrypted.Addr + "?server_name=elsewhere.example&ca=" + files.ca + "&cert=" + files.cert + "&key=" + files.key, "elsewhere.example", false},
		{"no client certificate", "rediss://" + encrypted.Addr + "?ca=" + files.ca, "", false}, // an alert, or a reset that overtook it
		{"no such file", "rediss://" + encrypted.Addr + "?ca=/nowhere.pem", "/nowhere.pem", false},
		{"not a certificate", "rediss://" + encrypted.Addr + "?ca=" + files.key, "no certificate", false},
		{"no such socket", "redis+unix:///nowhere.sock", "nowhere.sock", true},
		{"rights", "redis://" + plain.Addr + "?ca=x", "unknown parameter", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			b, err := tryOpen(c.url)
			if err == nil {
				_ = b.Close()
				t.Fatal("opened")
			}
			t.Log(err)
			text := err.Error()
			if !strings.Contains(text, c.want) || strings.ContainsAny(text, "\n\r") ||
				strings.Contains(text, "s3cret") || strings.Contains(text, "wr0ng") {
				t.Errorf("%q; want %q", text, c.want)
			}
			if c.want != "" && errors.Is(err, backend.ErrUnavailable) != c.unavailable {
				t.Errorf("ErrUnavailable: %v", !c.unavailable)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// The rights that the documentation names are enough, and needed to open.
func TestRights(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := raw(t, s)
	user := func(rules ...any) {
		t.Helper()
		if err := c.Do(bounded(t), append([]any{"ACL", "SETUSER", "u"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	user("on", ">s3cret", "~p:*", "~{p:*", "&p:*",
		"+info", "+eval", "+evalsha", "+time", "+get", "+set", "+del", "+exists", "+pttl", "+pexpire", "+hset", "+hget", "+hdel", "+hvals",
		"+zadd", "+zrem", "+zscore", "+zrank", "+zrange", "+publish", "+subscribe", "+ping")
	url := "redis://u:s3cret@" + s.Addr + "?prefix=p:"
	warm(t, open(t, url))

	for rule, want := range map[string]string{"info": "+info", "publish": "channel", "subscribe": "channel"} {
		user("-" + rule)
		if _, err := tryOpen(url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without +%s: %v", rule, err)
		}
		user("+" + rule)
	}
	if _, err := tryOpen("redis://u:s3cret@" + s.Addr + "?prefix=q:"); err == nil || !strings.Contains(err.Error(), "channel") {
		t.Errorf("another prefix: %v", err)
	}
	user("-evalsha")
	if g, err := open(t, url).Lock(bounded(t), request("n")); g != nil || err == nil || errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("without +evalsha: %v, %v", g, err)
	}
}

// The first lock of a backend made by New checks, and a dead server is an error.
func TestNewChecksAtTheFirstLock(t *testing.T) {
	t.Parallel()
	c := driver.NewClient(&driver.Options{Addr: "127.0.0.1:1", DialerRetries: 1})
	defer c.Close()
	b, err := redis.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := b.Lock(bounded(t), request("n")); g != nil || !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("lock: %v, %v", g, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if g, err := b.Lock(bounded(t), request("n")); g != nil || err == nil {
		t.Errorf("lock after Close: %v, %v", g, err)
	}
	if err := c.Ping(context.Background()).Err(); errors.Is(err, driver.ErrClosed) {
		t.Error("Close closed the application's client")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, files := certificates(t)
	s := servertest.Start(t, servertest.RedisTLS(cert, "--tls-auth-clients", "yes"))
	b := open(t, "rediss://"+s.Addr+"?ca="+files.ca+"&cert="+files.cert+"&key="+files.key)
	warm(t, b)
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--requirepass", "s3cret")
	b := open(t, "redis+unix://:s3cret@"+socketTo(t, s.Addr)+"?db=3")
	lock(t, b, request("n"))
	c := driver.NewClient(&driver.Options{Addr: s.Addr, Password: "s3cret", DB: 3})
	defer c.Close()
	if got := keysOf(t, c, "n"); len(got) != 1 {
		t.Errorf("database 3 has %q", got)
	}
}

// socketTo returns a socket that leads to addr: the server's own is in its
// container.
func socketTo(t testing.TB, addr string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "locker") // a socket's path is at most 108 bytes long
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "redis.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = l.Close(), os.RemoveAll(dir) })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				_ = client.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					_, _ = io.Copy(way[0], way[1]) // until either side closes
					_, _ = way[0].Close(), way[1].Close()
				}()
			}
		}
	}()
	return l.Addr().String()
}

type files struct{ ca, cert, key string }

// certificates writes a certificate, as an operator has it.
func certificates(t testing.TB) (servertest.Certificate, files) {
	t.Helper()
	c, dir := servertest.NewCertificate(t), t.TempDir()
	f := files{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for path, content := range map[string]string{f.ca: c.CA, f.cert: c.Cert, f.key: c.Key} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c, f
}
