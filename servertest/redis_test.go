// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// newRedis is a client that hides nothing: no retries, and short patience.
func newRedis(t *testing.T, options redis.Options) *redis.Client {
	t.Helper()
	options.MaxRetries = -1
	options.DialerRetries = 1
	if options.ReadTimeout == 0 {
		options.ReadTimeout = slack
	}
	options.DisableIdentity = true
	client := redis.NewClient(&options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestRedisThroughProxy(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.Redis())
	px := proxy.Start(t, srv.Addr, proxy.RESP)
	client := newRedis(t, redis.Options{Addr: px.Addr()})
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	before := px.Requests()
	for range 3 {
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := px.Requests() - before; got != 3 {
		t.Errorf("counted %d requests, want 3", got)
	}
	px.Refuse()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("answered through a proxy that refuses")
	}
	if err := px.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after healing: %v", err)
	}
}

func TestSharedIsShared(t *testing.T) {
	t.Parallel()
	a, b := servertest.Shared(t, servertest.Redis()), servertest.Shared(t, servertest.Redis())
	if a != b {
		t.Errorf("two servers: %s, %s", a.Addr, b.Addr)
	}
}

// TestRedisLateRequest is the schedule of a command that arrives after its
// client has given up and cleaned up by another connection.
func TestRedisLateRequest(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.Redis())
	px := proxy.Start(t, srv.Addr, proxy.RESP)
	client := newRedis(t, redis.Options{Addr: px.Addr()})
	other := newRedis(t, redis.Options{Addr: srv.Addr})
	key := t.Name()
	held := px.Hold(func(request []byte) bool { return strings.Contains(string(request), key) })
	answer := make(chan error, 1)
	go func() { answer <- client.Set(t.Context(), key, "orphan", time.Minute).Err() }()
	select {
	case <-held.Caught():
	case err := <-answer:
		t.Fatalf("answered %v before it was held", err)
	}
	px.Sever()
	if err := <-answer; err == nil {
		t.Fatal("a held command was answered")
	}
	if n, err := other.Del(t.Context(), key).Result(); n != 0 || err != nil {
		t.Fatalf("cleaned up %d, %v; want nothing to be there", n, err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	<-held.Replied()
	if value, err := other.Get(t.Context(), key).Result(); value != "orphan" {
		t.Errorf("found %q, %v; want the late command's value", value, err)
	}
}

func TestRedisPassword(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Redis("--requirepass", "secret", "--maxmemory-policy", "volatile-lru",
		"--user", "app", "on", ">word", "~app:*", "&*", "+@all"))
	if err := newRedis(t, redis.Options{Addr: srv.Addr}).Ping(t.Context()).Err(); err == nil {
		t.Error("answered without a password")
	}
	client := newRedis(t, redis.Options{Addr: srv.Addr, Password: "secret"})
	policy, err := client.ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil || policy["maxmemory-policy"] != "volatile-lru" {
		t.Errorf("policy %v, %v", policy, err)
	}
	user := newRedis(t, redis.Options{Addr: srv.Addr, Username: "app", Password: "word"})
	if err := user.Set(t.Context(), "app:x", 1, 0).Err(); err != nil {
		t.Errorf("within the user's rights: %v", err)
	}
	if err := user.Set(t.Context(), "x", 1, 0).Err(); err == nil {
		t.Error("the user may write everywhere")
	}
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	cert := servertest.NewCertificate(t)
	srv := servertest.Start(t, servertest.RedisTLS(cert))
	px := proxy.Start(t, srv.Addr, proxy.Raw)
	if err := newRedis(t, redis.Options{Addr: px.Addr(), TLSConfig: cert.Client()}).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	stranger := servertest.NewCertificate(t)
	if err := newRedis(t, redis.Options{Addr: px.Addr(), TLSConfig: stranger.Client()}).Ping(t.Context()).Err(); err == nil {
		t.Error("answered a client that trusts another authority")
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Redis())
	client := newRedis(t, redis.Options{Addr: srv.Addr, ContextTimeoutEnabled: true})
	ping(t, client)
	srv.Pause(t)
	silent(t, client)
	srv.Unpause(t)
	ping(t, client)
}

func TestKillKeepsAddressAndData(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Redis("--appendonly", "yes", "--appendfsync", "always"))
	client := newRedis(t, redis.Options{Addr: srv.Addr})
	if err := client.Set(t.Context(), "a", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	srv.Kill(t)
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answers")
	}
	srv.Revive(t)
	if got, err := fresh(t, srv).Get(t.Context(), "a").Result(); got != "1" || err != nil {
		t.Errorf("after a kill: %q, %v", got, err)
	}
	srv.Restart(t)
	if got, err := fresh(t, srv).Get(t.Context(), "a").Result(); got != "1" || err != nil {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	addr, id := srv.Addr, srv.Container()
	srv.Empty(t)
	if got, err := fresh(t, srv).Get(t.Context(), "a").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("after losing its data: %q, %v", got, err)
	}
	if srv.Addr != addr || srv.Container() == id {
		t.Errorf("address %s (was %s), container %s (was %s)", srv.Addr, addr, srv.Container(), id)
	}
}

func TestCutOff(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Redis())
	client := newRedis(t, redis.Options{Addr: srv.Addr, ContextTimeoutEnabled: true})
	ping(t, client)
	srv.CutOff(t)
	silent(t, client)
	srv.Rejoin(t)
	ping(t, client)
}

func TestExecAndLogs(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.Redis())
	if out := srv.Exec(t, "redis-cli", "ping"); out != "PONG\n" {
		t.Errorf("redis-cli printed %q", out)
	}
	if logs := srv.Logs(t); !strings.Contains(logs, "Ready to accept connections") {
		t.Errorf("logs: %q", logs)
	}
}

// fresh is a client that has not yet seen the server die.
func fresh(t *testing.T, srv *servertest.Server) *redis.Client {
	t.Helper()
	return newRedis(t, redis.Options{Addr: srv.Addr})
}

func ping(t *testing.T, client *redis.Client) {
	t.Helper()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

func silent(t *testing.T, client *redis.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := client.Ping(ctx).Err()
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
		t.Fatalf("got %v, want no answer", err)
	}
}
