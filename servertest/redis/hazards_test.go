// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/redis"
	"github.com/golocker/locker/servertest/backendtest"
)

// R1a: a waiter whose push was lost gets the lock all the same.
func TestHazard_R1_LostPush(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := raw(t, s)
	setUser(t, c, "&*")
	a, b := open(t, "redis://u:s3cret@"+s.Addr), open(t, "redis://"+s.Addr)
	warm(t, b)
	req := func() backend.Request { r := request("n"); r.TTL = 30 * time.Second; return r } // re-runs each 3.3 s
	g := lock(t, a, req())
	w := queue(t, b, req())
	setUser(t, c) // may not publish any more
	unlock(t, a, g)
	got := w.Granted(t, 10*time.Second)
	if got.Token <= g.Token {
		t.Errorf("token %d after %d", got.Token, g.Token)
	}
	unlock(t, b, got)
}

// R1a: a subscription that broke is made anew, and what it missed made good.
func TestHazard_R1_LostSubscription(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+s.Addr), raw(t, s)
	req := func() backend.Request { r := request("n"); r.TTL = 10 * time.Minute; return r } // re-runs each 67 s
	g := lock(t, a, req())
	w1, w2 := queue(t, b, req()), queue(t, b, req())
	eventually(t, "b listens", func() bool { return subscribed(t, c) == 1 })
	if n := c.ClientKillByFilter(bounded(t), "TYPE", "pubsub").Val(); n != 1 {
		t.Fatalf("%d subscriptions", n)
	}
	unlock(t, a, g)
	g = w1.Granted(t, 20*time.Second)
	eventually(t, "b listens again", func() bool { return subscribed(t, c) == 1 })
	unlock(t, b, g)
	unlock(t, b, w2.Granted(t, 20*time.Second))
}

// setUser makes the user u with the password s3cret and these rights besides
// those to all keys and commands.
func setUser(t testing.TB, c *driver.Client, rights ...any) {
	t.Helper()
	user := append([]any{"ACL", "SETUSER", "u", "reset", "on", ">s3cret", "~*", "+@all"}, rights...)
	if err := c.Do(bounded(t), user...).Err(); err != nil {
		t.Fatal(err)
	}
}

// subscribed counts the connections with a subscription.
func subscribed(t testing.TB, c *driver.Client) int {
	return strings.Count(c.ClientList(bounded(t)).Val(), " flags=P ")
}

// R1a: a waiter that was passed over while it was silent gets its place back.
func TestHazard_R1_OldPlace(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	a, b := open(t, "redis://"+s.Addr), open(t, "redis://"+p.Addr())
	g := lock(t, a, request("n"))
	silent := queue(t, b, request("n"))
	second := queue(t, a, request("n"))
	third := queue(t, a, request("n"))
	p.BlackHole()
	renewed := time.Now()
	eventually(t, "the silent one counts as dead", func() bool {
		if time.Since(renewed) > time.Second {
			renewed = time.Now()
			a.Renew(bounded(t), []*backend.Grant{g})
		}
		st, err := state(a, "n")
		return err == nil && st.Waiters == 2
	})
	unlock(t, a, g)
	g = second.Granted(t, 5*time.Second)
	heal(t, p)
	eventually(t, "the silent one is back", func() bool {
		a.Renew(bounded(t), []*backend.Grant{g})
		st, err := state(a, "n")
		return err == nil && st.Waiters == 2
	})
	unlock(t, a, g)
	g = silent.Granted(t, 10*time.Second)
	if !third.Waits() {
		t.Error("one who came later was granted too")
	}
	unlock(t, b, g)
	unlock(t, a, third.Granted(t, 10*time.Second))
}

// R1b: the waiter that becomes the first when the first leaves takes over from a
// dead holder in time.
func TestHazard_R1_NewHead(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b := open(t, "redis://"+s.Addr), open(t, "redis://"+s.Addr)
	warm(t, b)
	lock(t, a, request("n")) // and dies
	since := time.Now()
	first, second := queue(t, b, request("n")), queue(t, b, request("n"))
	first.Cancel()
	<-first.Done
	if err := b.Withdraw(bounded(t), first.Grant); err != nil {
		t.Fatal(err)
	}
	unlock(t, b, second.Granted(t, 20*time.Second))
	if took, most := time.Since(since), b.Info().Reclaim(short)+2*time.Second; took > most {
		t.Errorf("took %v, more than %v", took, most)
	}
}

// R1c: nobody barges past a queue when the lock is free.
func TestHazard_R1_NoBarging(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+s.Addr), raw(t, s)
	warm(t, b)
	req := func() backend.Request { r := request("n"); r.TTL = 30 * time.Second; return r } // re-runs each 3.3 s
	lock(t, a, req())
	w := queue(t, b, req())
	if err := c.Del(bounded(t), "n").Err(); err != nil {
		t.Fatal(err)
	}
	r := req()
	r.NoWait = true
	if g, err := a.Lock(bounded(t), r); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait on a free lock with a queue: %v, %v", g, err)
	}
	unlock(t, b, w.Granted(t, 2*time.Second))
}

// R2: a server that evicts keys with an expiry evicts held locks.
func TestHazard_R2_Eviction(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
	_, err := tryOpen("redis://" + s.Addr)
	if err == nil || !strings.Contains(err.Error(), "volatile-lru") || strings.Contains(err.Error(), "\n") {
		t.Errorf("open: %v", err)
	}
	c := raw(t, s)
	b, err := redis.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if g, err := b.Lock(bounded(t), request("n")); g != nil || err == nil || !strings.Contains(err.Error(), "volatile-lru") {
		t.Errorf("the first lock: %v, %v", g, err)
	}
	if got := keysOf(t, c, "*"); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	open(t, "redis://"+s.Addr+"?allow_eviction=true")
	if err := c.ConfigSet(bounded(t), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	open(t, "redis://"+s.Addr)
}

// R2: when the server's memory is full, what is held can be renewed, released
// and handed over, and who waits keeps its place; only who is new is refused.
func TestHazard_R2_FullMemory(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+s.Addr), raw(t, s)
	long := request("n")
	long.TTL = time.Minute
	g := lock(t, a, long)
	w := queue(t, b, request("n"))
	if err := c.ConfigSet(bounded(t), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(bounded(t), "x", "y", 0).Err(); !driver.IsOOMError(err) {
		t.Fatalf("the memory is not full: %v", err)
	}
	runs := scriptsRun(t, c)
	eventually(t, "many re-runs, one each 333 ms", func() bool { return scriptsRun(t, c) > runs+6 })
	if st, err := state(a, "n"); err != nil || st.Waiters != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	if r := a.Renew(bounded(t), []*backend.Grant{g}); r[0].Err != nil {
		t.Errorf("renew: %v", r[0].Err)
	}
	unlock(t, a, g)
	unlock(t, b, w.Granted(t, 10*time.Second))
	if g, err := a.Lock(bounded(t), request("m")); g != nil || !driver.IsOOMError(err) {
		t.Errorf("lock: %v, %v", g, err)
	}
}

// R2: a waiter that a full server has forgotten waits on.
func TestHazard_R2_ForgottenAndFull(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+s.Addr), raw(t, s)
	warm(t, b)
	held := request("n")
	held.TTL = time.Second // after which the first waiter asks by itself
	lock(t, a, held)
	w := queue(t, b, request("n"))
	if err := c.ConfigSet(bounded(t), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.FlushAll(bounded(t)).Err(); err != nil {
		t.Fatal(err)
	}
	runs := scriptsRun(t, c)
	eventually(t, "a few re-runs, one each 333 ms", func() bool { return scriptsRun(t, c) > runs+8 })
	if !w.Waits() {
		t.Fatalf("it gave up: %v", w.Err)
	}
	if err := c.ConfigSet(bounded(t), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	unlock(t, b, w.Granted(t, 10*time.Second))
}

// R3: a lock script that comes late, or twice, shortens nothing.
func TestHazard_R3_NeverShorter(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr), raw(t, s)
	long := request("n")
	long.TTL = time.Minute
	g := lock(t, b, long)
	again := long
	again.TTL = short
	if g2 := lock(t, b, again); g2.Token != g.Token {
		t.Errorf("the same request got tokens %d and %d", g.Token, g2.Token)
	}
	g3 := *g
	if left := c.PTTL(bounded(t), "n").Val(); left < 50*time.Second {
		t.Errorf("a re-run cut the lock to %v", left)
	}
	b.Renew(bounded(t), []*backend.Grant{&g3})
	if left := c.PTTL(bounded(t), "n").Val(); left < 50*time.Second {
		t.Errorf("a renewal cut the lock to %v", left)
	}
}

// R4: tokens are exact: Lua prints large numbers with 14 digits, which is steps
// of 100 µs.
func TestHazard_R4_ExactTokens(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr), raw(t, s)
	var last int64
	for range 200 {
		g := lock(t, b, request("n"))
		if g.Token <= last {
			t.Fatalf("token %d after %d", g.Token, last)
		}
		if fence := c.Get(bounded(t), "{n}~~fence").Val(); fence != fmt.Sprint(g.Token) {
			t.Fatalf("token %d, fence %s", g.Token, fence)
		}
		if value := c.Get(bounded(t), "n").Val(); !strings.Contains(value, fmt.Sprint(" ", g.Token, " ")) {
			t.Fatalf("token %d, value %q", g.Token, value)
		}
		last = g.Token
		w := queue(t, b, request("n"))
		unlock(t, b, g)
		g = w.Granted(t, 10*time.Second)
		if g.Token <= last || g.Token%10000 == 0 && last%10000 == 0 {
			t.Fatalf("pushed token %d after %d", g.Token, last)
		}
		last = g.Token
		unlock(t, b, g)
	}
	// The fence alone decides where the clock says less.
	ahead := last + int64(time.Hour/time.Microsecond)
	if err := c.Set(bounded(t), "{n}~~fence", ahead, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if g := lock(t, b, request("n")); g.Token != ahead+1 {
		t.Errorf("token %d after %d", g.Token, ahead)
	}
	if left := c.PTTL(bounded(t), "{n}~~fence").Val(); left < 100*time.Minute {
		t.Errorf("the fence ends in %v, before its own token's time", left)
	}
}

// foreign returns a client as applications have it: it does not heed contexts,
// and sends commands again.
func foreign(t testing.TB, addr string) *driver.Client {
	c := driver.NewClient(&driver.Options{Addr: addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// R5: a client that does not heed contexts delays nobody, and sends nothing
// that the adapter does not know of.
func TestHazard_R5_ForeignClient(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	b, err := redis.New(foreign(t, p.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, b)
	held := lock(t, b, request("held"))

	p.BlackHole()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	p.commands()
	g, err := b.Lock(ctx, request("n"))
	if took, most := time.Since(start), 100*time.Millisecond+backend.Linger(short)+time.Second; took > most {
		t.Errorf("lock took %v, more than %v", took, most)
	}
	if g == nil || !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("lock: %v, %v", g, err)
	}
	if n := scripts(p.commands()); n != 1 {
		t.Errorf("one exchange sent %d scripts", n)
	}
	heal(t, p)

	p.commands()
	renewal := p.Hold(func(request []byte) bool { return isScript(request) && bytes.Contains(request, []byte("\r\nheld\r\n")) })
	go func() {
		<-renewal.Caught()
		p.Sever()
	}()
	if r := b.Renew(bounded(t), []*backend.Grant{held}); !errors.Is(r[0].Err, backend.ErrUnavailable) {
		t.Errorf("renew without a reply: %v", r[0].Err)
	}
	if n := scripts(p.commands()); n != 1 {
		t.Errorf("one renewal sent %d scripts", n)
	}
	if err := b.Withdraw(bounded(t), g); err != nil {
		t.Error(err)
	}
}

// R5: after a restart the server knows no script; a whole batch of renewals
// succeeds all the same.
func TestHazard_R5_UnknownScripts(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr), raw(t, s)
	var grants []*backend.Grant
	for i := range 100 {
		grants = append(grants, lock(t, b, request(fmt.Sprint("n", i))))
	}
	if err := c.ScriptFlush(bounded(t)).Err(); err != nil {
		t.Fatal(err)
	}
	for i, r := range b.Renew(bounded(t), grants) {
		if r.Err != nil {
			t.Fatalf("grant %d: %v", i, r.Err)
		}
	}
	if err := c.ScriptFlush(bounded(t)).Err(); err != nil {
		t.Fatal(err)
	}
	unlock(t, b, grants[0])
}

// R5: a Ring takes a lock elsewhere when a server looks down.
func TestHazard_R5_Ring(t *testing.T) {
	ring := driver.NewRing(&driver.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	if _, err := redis.New(ring, nil); err == nil || !strings.Contains(err.Error(), "Ring") {
		t.Errorf("a Ring: %v", err)
	}
	if _, err := redis.New(nil, nil); err == nil {
		t.Error("nil is taken for a client")
	}
}

// R6: a foreign holder deletes its key and tells nobody. The first waiter, and
// it alone, looks.
func TestHazard_R6_ForeignHolder(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	b, c := open(t, "redis://"+p.Addr()), raw(t, s)
	for _, ttl := range []time.Duration{0, time.Minute} {
		if ok := c.SetNX(bounded(t), "n", "somebody", ttl).Val(); !ok {
			t.Fatal("not set")
		}
		if g, err := b.Lock(bounded(t), noWait()); !errors.Is(err, backend.ErrLocked) {
			t.Fatalf("beside a foreign holder: %v, %v", g, err)
		}
		var line []*backendtest.Call
		for range 8 {
			r := request("n")
			r.TTL = time.Minute
			line = append(line, queue(t, b, r))
		}
		p.commands()
		start := time.Now()
		eventually(t, "a few looks", func() bool { return time.Since(start) > 1500*time.Millisecond })
		if n := scripts(p.commands()); n < 2 || n > 8+8 { // six looks, and one round at most of re-runs
			t.Errorf("%d looks in 1.5 s", n)
		}
		c.Del(bounded(t), "n")
		g := line[0].Granted(t, 5*time.Second)
		if c.SetNX(bounded(t), "n", "somebody", 0).Val() {
			t.Error("a foreign client locked what is held")
		}
		for _, w := range line[1:] {
			unlock(t, b, g)
			g = w.Granted(t, 5*time.Second)
		}
		unlock(t, b, g)
	}
}

// R8: a hand-over whose message is refused is a hand-over.
func TestHazard_R8_RefusedPush(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	c := raw(t, s)
	setUser(t, c)
	_, err := tryOpen("redis://u:s3cret@" + s.Addr)
	if err == nil || !strings.Contains(err.Error(), "channel") || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
		t.Errorf("open without rights to a channel: %v", err)
	}

	setUser(t, c, "&*")
	a, b := open(t, "redis://u:s3cret@"+s.Addr), open(t, "redis://"+s.Addr)
	g := lock(t, a, request("n"))
	w := queue(t, b, request("n"))
	setUser(t, c)
	unlock(t, a, g)
	got := w.Granted(t, 10*time.Second)
	if got.Token <= g.Token {
		t.Errorf("token %d after %d", got.Token, g.Token)
	}
	unlock(t, b, got)
}

// R9: tokens grow across a server that forgot everything.
func TestHazard_R9_MemoryLost(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b := open(t, "redis://"+s.Addr)
	warm(t, b)
	g := lock(t, b, request("n"))
	w := queue(t, b, request("n"))
	s.Kill(t)
	s.Revive(t) // with nothing: it keeps nothing on disk
	g2 := w.Granted(t, 20*time.Second)
	if g2.Token <= g.Token {
		t.Errorf("token %d after %d", g2.Token, g.Token)
	}
	if r := b.Renew(bounded(t), []*backend.Grant{g}); !errors.Is(r[0].Err, backend.ErrLost) {
		t.Errorf("renewal of what the server forgot: %v", r[0].Err)
	}
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("unlock of what the server forgot: %v", err)
	}
	unlock(t, b, g2)
}

// scriptsRun returns how many scripts the server has run.
func scriptsRun(t testing.TB, c *driver.Client) (n int) {
	for line := range strings.Lines(c.Info(bounded(t), "commandstats").Val()) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			n, _ = strconv.Atoi(strings.Split(rest, ",")[0]) // 0: none
		}
	}
	return n
}

// G1a: a lock script that arrives after its own withdrawal does nothing.
func TestHazard_G1a_LateRequest(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"free", "queue"} {
		t.Run(kind, func(t *testing.T) {
			s := startServer(t)
			p := startNetwork(t, s.Addr)
			a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+p.Addr()), raw(t, s)
			warm(t, b)
			var held *backend.Grant
			if kind == "queue" {
				held = lock(t, a, request("n"))
			}
			late := p.Hold(isScript)
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				<-late.Caught()
				cancel()
			}()
			g, err := b.Lock(ctx, request("n"))
			if g == nil || err == nil {
				t.Fatalf("lock: %v, %v", g, err)
			}
			if err := b.Withdraw(bounded(t), g); err != nil { // by a new connection
				t.Fatal(err)
			}
			runs := scriptsRun(t, c)
			if err := late.Release(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the late script has run", func() bool { return scriptsRun(t, c) > runs })
			if held != nil {
				unlock(t, a, held)
			}
			got, err := a.Lock(bounded(t), noWait())
			if err != nil {
				t.Fatalf("the withdrawn request holds the lock: %v", err)
			}
			if st, err := state(a, "n"); err != nil || st.Waiters != 0 {
				t.Errorf("the withdrawn request waits: %+v, %v", st, err)
			}
			unlock(t, a, got)
		})
	}
}

// G1a: a re-run that arrives after the lock was pushed, used and released does
// nothing.
func TestHazard_G1a_LateRerun(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+p.Addr()), raw(t, s)
	warm(t, b)
	held := lock(t, a, request("n"))
	waiter := queue(t, b, request("n"))
	late := p.Hold(isScript)
	<-late.Caught()
	unlock(t, a, held)
	unlock(t, b, waiter.Granted(t, 20*time.Second)) // by a new connection
	runs := scriptsRun(t, c)
	if err := late.Release(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the late script has run", func() bool { return scriptsRun(t, c) > runs })
	got, err := a.Lock(bounded(t), noWait())
	if err != nil {
		t.Fatalf("the released request holds the lock: %v", err)
	}
	unlock(t, a, got)
}

// G1a: only what was not answered leaves a tombstone.
func TestHazard_G1a_NoTombstones(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr), raw(t, s)
	warm(t, b)
	before := keysOf(t, c, "*gone*") // of a warm-up whose Unlock was not answered at once

	req := func() backend.Request { r := request("n"); r.TTL = time.Minute; return r } // re-runs each 6.7 s
	g := lock(t, b, req())
	w := queue(t, b, req())
	w.Cancel()
	<-w.Done
	if err := b.Withdraw(bounded(t), w.Grant); err != nil {
		t.Fatal(err)
	}
	unlock(t, b, g)
	for _, key := range keysOf(t, c, "*gone*") {
		if !slices.Contains(before, key) {
			t.Errorf("a tombstone: %q", key)
		}
	}
}

// G2b: a push that is read after its claim has passed is no grant.
func TestHazard_G2b_StalePush(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	p := startNetwork(t, s.Addr)
	a, b := open(t, "redis://"+s.Addr), open(t, "redis://"+p.Addr())
	warm(t, b)
	g := lock(t, a, request("n"))
	paused := queue(t, b, request("n"))
	next := queue(t, a, request("n"))
	p.BlackHole()
	unlock(t, a, g) // grants paused, for the claim TTL
	g = next.Granted(t, 20*time.Second)
	heal(t, p)

	renewed := time.Now()
	eventually(t, "the paused one is back, or believes that it holds the lock", func() bool {
		if time.Since(renewed) > 500*time.Millisecond {
			renewed = time.Now()
			if r := a.Renew(bounded(t), []*backend.Grant{g}); r[0].Err != nil {
				t.Fatal(r[0].Err)
			}
		}
		st, err := state(a, "n")
		return !paused.Waits() || err == nil && st.Waiters == 1
	})
	if !paused.Waits() {
		t.Fatalf("two holders: the second believes until %v (%v)", paused.Grant.Until, paused.Err)
	}
	unlock(t, a, g)
	unlock(t, b, paused.Granted(t, 10*time.Second))
}

// G2b: the deadline of a pushed grant is never later than the store's.
func TestHazard_G2b_PushDated(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	a, b, c := open(t, "redis://"+s.Addr), open(t, "redis://"+s.Addr), raw(t, s)
	warm(t, b)
	for range 20 {
		g := lock(t, a, request("n"))
		w := queue(t, b, request("n"))
		unlock(t, a, g)
		g = w.Granted(t, 10*time.Second)
		before := backend.Now()
		left := c.PTTL(bounded(t), "n").Val()
		if latest := backend.Now().Add(left + time.Millisecond); g.Until.After(latest) {
			t.Fatalf("believes %v longer than the store", g.Until.Sub(latest))
		}
		if g.Until.Before(before) {
			t.Fatal("a grant that is over")
		}
		unlock(t, b, g)
	}
}

// G5a: Renew never brings back what has expired.
func TestHazard_G5a_NoResurrection(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	b, c := open(t, "redis://"+s.Addr), raw(t, s)
	r := request("n")
	r.TTL = time.Second
	g := lock(t, b, r)
	eventually(t, "the lock expires", func() bool { return c.Exists(bounded(t), "n").Val() == 0 })
	if r := b.Renew(bounded(t), []*backend.Grant{g}); !errors.Is(r[0].Err, backend.ErrLost) {
		t.Errorf("renew: %v", r[0].Err)
	}
	if c.Exists(bounded(t), "n").Val() != 0 {
		t.Error("renew brought it back")
	}
	successor := lock(t, b, noWait())
	if r := b.Renew(bounded(t), []*backend.Grant{g}); !errors.Is(r[0].Err, backend.ErrLost) {
		t.Errorf("renew beside a successor: %v", r[0].Err)
	}
	if err := b.Unlock(bounded(t), g); !errors.Is(err, backend.ErrLost) {
		t.Errorf("unlock beside a successor: %v", err)
	}
	unlock(t, b, successor)
}
