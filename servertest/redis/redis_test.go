// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/redis"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

const short = 3 * time.Second // TTL; the claim TTL is then 1 s

func TestMain(m *testing.M) {
	conformance.Child()
	driver.SetLogger(quiet{})
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// open opens a backend as another process has it.
func open(t testing.TB, rawURL string) *redis.Backend {
	t.Helper()
	b, err := tryOpen(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b.(*redis.Backend)
}

func tryOpen(rawURL string) (backend.Backend, error) {
	target, err := backend.ParseTarget(rawURL)
	if err != nil {
		return nil, err
	}
	target.TTL, target.Logger = short, slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return backend.Open(ctx, target)
}

func raw(t testing.TB, s *servertest.Server) *driver.Client {
	c := driver.NewClient(&driver.Options{Addr: s.Addr, Protocol: 2})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

var owners atomic.Int64

func request(name string) backend.Request {
	return backend.Request{Name: name, Owner: fmt.Sprintf("owner%d", owners.Add(1)), TTL: short}
}

// noWait is a request for the lock "n".
func noWait() backend.Request {
	r := request("n")
	r.NoWait = true
	return r
}

// warm makes the server know the scripts, and the backend have a subscription.
func warm(t testing.TB, b backend.Backend) {
	t.Helper()
	g := lock(t, b, request("warm"))
	p := queue(t, b, request("warm"))
	eventually(t, "two wait", func() bool { s, err := state(b, "warm"); return err == nil && s.Waiters == 1 })
	unlock(t, b, g)
	g = p.Granted(t, 20*time.Second)
	if r := b.Renew(bounded(t), []*backend.Grant{g}); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	unlock(t, b, g)
}

func state(b backend.Backend, name string) (backend.State, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return b.(backend.Inspector).Inspect(ctx, name)
}

func keysOf(t testing.TB, c *driver.Client, pattern string) []string {
	keys, err := c.Keys(context.Background(), pattern).Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func TestInspect(t *testing.T) {
	s := startServer(t)
	b := open(t, "redis://"+s.Addr)
	if got, err := state(b, "n"); err != nil || got != (backend.State{}) {
		t.Fatalf("free lock: %+v, %v", got, err)
	}
	req := request("n")
	req.Note = "two words\nand a line"
	g := lock(t, b, req)
	queue(t, b, request("n"))
	got, err := state(b, "n")
	if err != nil || !got.Held || got.Note != req.Note || got.Token != g.Token || got.Waiters != 1 ||
		time.Since(got.Since).Abs() > time.Minute {
		t.Fatalf("held lock: %+v, %v; token %d", got, err, g.Token)
	}
}

// Nothing is left but the fence and, where a re-run was on its way, a tombstone;
// both expire.
func TestNothingLeft(t *testing.T) {
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr+"?prefix=p:"), raw(t, s)
	warm(t, b)
	g := lock(t, b, request("n"))
	cancelled := queue(t, b, request("n"))
	p := queue(t, b, request("n"))
	cancelled.Cancel()
	<-cancelled.Done
	if cancelled.Grant == nil || !errors.Is(cancelled.Err, context.Canceled) {
		t.Fatalf("cancelled: %v, %v", cancelled.Grant, cancelled.Err)
	}
	if err := b.Withdraw(bounded(t), cancelled.Grant); err != nil {
		t.Fatal(err)
	}
	unlock(t, b, g)
	unlock(t, b, p.Granted(t, 20*time.Second))
	for _, key := range keysOf(t, c, "*") {
		if !strings.HasSuffix(key, "}~~fence") && !strings.Contains(key, "}~~gone:") {
			t.Errorf("left: %q", key)
		}
		if ttl := c.PTTL(bounded(t), key).Val(); ttl <= 0 {
			t.Errorf("%q never expires: %v", key, ttl)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no connection but this test's", func() bool {
		return strings.Count(c.ClientList(bounded(t)).Val(), "\n") == 1
	})
}

// Uncontended: one request to lock, one to unlock. A hand-over costs as much
// with 64 waiters as with 2.
func TestCost(t *testing.T) {
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	b := open(t, "redis://"+p.Addr())
	warm(t, b)

	const ttl = 60 * time.Second // re-runs each 6.7 s
	p.commands()
	req := request("n")
	req.TTL = ttl
	g := lock(t, b, req)
	if got := p.commands(); len(got) != 1 {
		t.Errorf("lock sent %q", got)
	}
	unlock(t, b, g)
	if got := p.commands(); len(got) != 1 {
		t.Errorf("unlock sent %q", got)
	}

	for _, waiters := range []int{2, 64} {
		req := func() backend.Request { r := request(fmt.Sprint("n", waiters)); r.TTL = ttl; return r }
		g := lock(t, b, req())
		p.commands()
		var line []*backendtest.Call
		for range waiters {
			line = append(line, queue(t, b, req()))
		}
		if n := scripts(p.commands()); n > 3*waiters/2 {
			t.Errorf("%d waiters sent %d scripts to queue", waiters, n)
		}
		for _, w := range line {
			unlock(t, b, g)
			g = w.Granted(t, 20*time.Second)
		}
		unlock(t, b, g)
		got := p.commands()
		// One unlock a hand-over; slack for one round of re-runs on a slow machine.
		if n := scripts(got); n > 2*waiters+1 {
			t.Errorf("%d waiters: %d scripts for %d hand-overs", waiters, n, waiters)
		} else {
			t.Logf("%d waiters: %d scripts, %d requests", waiters, n, len(got))
		}
	}
}

// 5,000 held locks: one subscription at most, one pipeline to renew them.
func TestCostOfMany(t *testing.T) {
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	b := open(t, "redis://"+p.Addr())
	var grants []*backend.Grant
	for i := range 5000 {
		r := request(fmt.Sprint("n", i))
		r.TTL = time.Minute
		grants = append(grants, lock(t, b, r))
	}
	p.commands()
	for i, r := range b.Renew(bounded(t), grants) {
		if r.Err != nil {
			t.Fatalf("grant %d: %v", i, r.Err)
		}
	}
	if got := p.commands(); scripts(got) != 2*5000 && scripts(got) != 5000 { // the first time spelt out
		t.Errorf("%d scripts", scripts(got))
	}
	p.commands()
	b.Renew(bounded(t), grants)
	if got := p.commands(); len(got) != 5000 {
		t.Errorf("%d requests", len(got))
	}
	if n := p.Open(); n > 3 {
		t.Errorf("%d connections", n)
	}
	for range 50 {
		queue(t, b, request(grants[0].Name))
		queue(t, b, request(fmt.Sprint("n", len(grants)/2)))
	}
	if n := strings.Count(raw(t, s).ClientList(bounded(t)).Val(), " flags=P "); n != 1 {
		t.Errorf("%d subscribed connections", n)
	}
}
