// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/postgres"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
	"github.com/golocker/locker/servertest/proxy"
)

// superuser's URL, with more parameters.
func urlOf(addr string, params ...string) string {
	return strings.Join(append([]string{servertest.PostgresURL(addr)}, params...), "&")
}

func shared(t testing.TB) *servertest.Server {
	t.Helper()
	return servertest.Shared(t, servertest.Postgres("max_connections=300"))
}

// locks counts what the server has for a name, granted or not.
func (p *psql) locks(t testing.TB, name string) int64 {
	t.Helper()
	return p.count(t, "SELECT count(*) FROM pg_locks WHERE "+isKey(name))
}

// pidOf returns the session that holds a lock, or that waits for it, once there
// is one: a wait whose snapshot is renewed is away for a moment.
func (p *psql) pidOf(t testing.TB, name string, granted bool) (pid int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("a session has %s, granted: %v", name, granted), func() bool {
		pid = p.count(t, fmt.Sprintf("SELECT coalesce(max(pid), 0) FROM pg_locks WHERE granted = %v AND %s", granted, isKey(name)))
		return pid > 0
	})
	return pid
}

// withdraw does what the Client does with a request that ended without the
// server's word.
func withdraw(t testing.TB, b backend.Backend, g *backend.Grant) {
	t.Helper()
	var err error
	eventually(t, "a withdrawal", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), backend.Linger(g.TTL))
		defer cancel()
		err = b.Withdraw(ctx, g)
		return err == nil
	})
}

// A cancel that meets the grant leaves a statement that failed and a session
// that has the lock; one that comes later hits the next statement. The holder's
// unlock and a cancel, in one statement of its, meet a waiter that gives up.
func TestHazard_P1_CancelMeetsGrant(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin, b, key := native(t, server.Addr), openURL(t, urlOf(server.Addr)), postgres.Key("", "p1")
	granted := 0
	for i := range 80 {
		admin.exec(t, fmt.Sprintf("SELECT pg_advisory_lock(%d)", key))
		w := queue(t, b, request("p1"))
		pid := admin.pidOf(t, "p1", false)
		var both sync.WaitGroup
		both.Go(func() {
			<-time.After(time.Duration(i%16) * 50 * time.Microsecond)
			admin.exec(t, fmt.Sprintf("SELECT pg_advisory_unlock(%d), pg_cancel_backend(%d)", key, pid))
		})
		both.Go(w.Cancel)
		both.Wait()
		<-w.Done
		switch {
		case w.Err == nil:
			granted++
			unlock(t, b, w.Grant)
		case w.Grant != nil:
			t.Errorf("round %d: a withdrawal is left, though the server answers: %v", i, w.Err)
			withdraw(t, b, w.Grant)
		}
		if n := admin.locks(t, "p1"); n != 0 {
			t.Fatalf("round %d: after everybody has ended the server has %d locks", i, n)
		}
	}
	t.Logf("%d of 80 were granted", granted)
}

// Who cancels a wait of ours as it is granted does not end it: it is granted
// once more, and one unlock releases all of it.
func TestHazard_P1_CancelledByOthers(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin, b, key := native(t, server.Addr), openURL(t, urlOf(server.Addr)), postgres.Key("", "p1-others")
	for range 30 {
		admin.exec(t, fmt.Sprintf("SELECT pg_advisory_lock(%d)", key))
		w := queue(t, b, request("p1-others"))
		pid := admin.pidOf(t, "p1-others", false)
		admin.exec(t, fmt.Sprintf("SELECT pg_cancel_backend(%d)", pid),
			fmt.Sprintf("SELECT pg_advisory_unlock(%d), pg_cancel_backend(%d)", key, pid))
		unlock(t, b, w.Granted(t, backendtest.Patience))
		if n := admin.locks(t, "p1-others"); n != 0 {
			t.Fatalf("after the unlock the server has %d locks", n)
		}
	}
}

// newSequence makes a sequence of tokens by hand. Who uses it needs restart_grace
// off: it is of no life of the server, so that nothing is granted for a TTL (P4).
func newSequence(t testing.TB, admin *psql) string {
	t.Helper()
	name := unique("tokens")
	admin.exec(t, "CREATE SEQUENCE "+name)
	return name
}

// exhausted has a sequence no further value.
func exhausted(sequence string) string {
	return fmt.Sprintf("SELECT setval('%s', %d)", sequence, math.MaxInt64)
}

// A try whose second half fails has taken the lock.
func TestHazard_P1_TryThatFails(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	sequence := newSequence(t, admin)
	b := openURL(t, urlOf(server.Addr, "sequence="+sequence, "restart_grace=false"))
	held := lock(t, b, request("p1-held"))
	admin.exec(t, exhausted(sequence))
	if g, err := b.Lock(bounded(t), request("p1-fails")); err == nil || g != nil {
		t.Fatalf("Lock without a token: %v %v, want an error alone", g, err)
	}
	if n := admin.locks(t, "p1-fails"); n != 0 {
		t.Errorf("the failed try left %d locks", n)
	}
	unlock(t, b, held)
}

// A role's settings do not reach the session: neither those that would end a wait
// nor those that would let a dead holder live.
func TestHazard_P2_RoleSettings(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres())
	admin := native(t, server.Addr)
	for _, setting := range []string{
		"statement_timeout = 100", "lock_timeout = 100", "synchronous_commit = off", "idle_session_timeout = 0",
		"idle_in_transaction_session_timeout = 100", "default_transaction_read_only = on", "client_connection_check_interval = 0",
		"\"DateStyle\" = 'SQL, DMY'", "\"TimeZone\" = 'Asia/Kolkata'",
	} {
		admin.exec(t, "ALTER ROLE postgres SET "+setting)
	}
	network := proxy.Start(t, server.Addr, proxy.Raw)
	a, b := openURL(t, urlOf(network.Addr(), "ttl=4s")), openURL(t, urlOf(server.Addr, "ttl=4s"))
	req := request("p2")
	req.TTL = 4 * time.Second
	lock(t, a, req)
	w := queue(t, b, req)
	select { // longer than each time-out of the role
	case <-w.Done:
		t.Fatalf("the wait ended: %v", w.Err)
	case <-time.After(500 * time.Millisecond):
	}
	network.BlackHole()
	unlock(t, b, w.Granted(t, backendtest.Patience))
}

// A role may be set to act as another, which may neither see nor end the sessions
// of the first: a wait that is over would go on, and be taken for ended.
func TestHazard_P2_RoleOfAnother(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	owner, app := unique("owner"), unique("app")
	admin.exec(t, "CREATE ROLE "+owner, "CREATE SCHEMA AUTHORIZATION "+owner,
		"CREATE ROLE "+app+" LOGIN PASSWORD 'secret' IN ROLE "+owner, fmt.Sprintf("ALTER ROLE %s SET role = %s", app, owner))
	url := "postgres://" + app + ":secret@" + server.Addr + "/postgres?sslmode=disable&sequence=" + owner + ".tokens&snapshot_age=1s"
	network := proxy.Start(t, server.Addr, proxy.Postgres)
	a, b := openURL(t, url), openURL(t, strings.Replace(url, server.Addr, network.Addr(), 1))
	held := lock(t, a, request("p2-role"))
	w := queue(t, b, request("p2-role"))
	pid := admin.pidOf(t, "p2-role", false)
	xmin := func() int64 {
		return admin.count(t, fmt.Sprintf("SELECT coalesce(max(backend_xmin::text::bigint), 0) FROM pg_stat_activity WHERE pid = %d", pid))
	}
	first := xmin()
	admin.exec(t, "CREATE TABLE "+unique("t")+" (i int)")
	eventually(t, "a fresh snapshot", func() bool { return xmin() > first })
	w.Cancel()
	<-w.Done
	eventually(t, "the wait has ended", func() bool { return admin.locks(t, "p2-role") == 1 })
	unlock(t, a, held)

	g := lock(t, b, request("p2-role"))
	network.Reset() // the server's side stays open for a while
	withdraw(t, b, g)
	if n := admin.locks(t, "p2-role"); n != 0 {
		t.Errorf("after the withdrawal the server has %d locks", n)
	}
}

// nextval goes back when the server is killed: what one session drew is lost if
// the log that another wrote for it was not flushed. commit_delay widens that
// gap. Tokens do not go back.
func TestHazard_P3_TokensAcrossKills(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres("commit_delay=20000", "commit_siblings=0"))
	const clients = 4
	var mu sync.Mutex
	var floor, most int64 // of the lives before, and of this one
	for round := range 20 {
		ctx, cancel := context.WithCancel(bounded(t))
		var all sync.WaitGroup
		drawn := make(chan struct{}, 100_000)
		for i := range clients {
			all.Go(func() {
				b, err := tryOpen(ctx, urlOf(server.Addr, "restart_grace=false"))
				for err != nil && ctx.Err() == nil { // a machine that stands still
					b, err = tryOpen(ctx, urlOf(server.Addr, "restart_grace=false"))
				}
				if err != nil {
					return
				}
				defer b.Close()
				for ctx.Err() == nil {
					g, err := b.Lock(ctx, noWait(fmt.Sprint("p3-", i)))
					if err != nil {
						continue
					}
					mu.Lock()
					if g.Token <= floor {
						t.Errorf("round %d: token %d, and %d was granted before the server was killed", round, g.Token, floor)
					}
					most = max(most, g.Token)
					mu.Unlock()
					_ = b.Unlock(ctx, g)
					drawn <- struct{}{}
				}
			})
		}
		for range 200 {
			select {
			case <-drawn:
			case <-time.After(20 * time.Second):
				t.Fatal("nobody gets a lock")
			}
		}
		server.Kill(t)
		cancel()
		all.Wait()
		floor = most
		server.Revive(t)
	}
}

// After a restart nobody is granted before a TTL: a holder that hears of nothing
// believes for as long.
func TestHazard_P4_Restart(t *testing.T) {
	t.Parallel()
	const ttl = 4 * time.Second
	long := func(req backend.Request) backend.Request { req.TTL = ttl; return req }
	server := servertest.Start(t, servertest.Postgres())
	network := proxy.Start(t, server.Addr, proxy.Raw)
	a := openURL(t, urlOf(network.Addr(), "ttl=4s"))
	held := lock(t, a, long(request("p4"))) // at once: the sequence is new
	network.BlackHole()
	server.Kill(t)
	server.Revive(t)

	b := openURL(t, urlOf(server.Addr, "ttl=4s"))
	_, err := b.Lock(bounded(t), long(noWait("p4")))
	if !errors.Is(err, backend.ErrLocked) || !strings.Contains(err.Error(), "restarted") {
		t.Fatalf("NoWait after a restart: %v, want ErrLocked and why", err)
	}
	w := queue(t, b, long(request("p4")))
	g := w.Granted(t, backendtest.Patience)
	if now := backend.Now(); now.Before(held.Until.Add(-backend.Margin(ttl))) {
		t.Errorf("granted %v before the holder's lease ends", held.Until.Sub(now))
	}
	unlock(t, b, g)
	unlock(t, b, lock(t, b, long(noWait("p4")))) // from now on at once
}

func TestHazard_P4_NoGrace(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres())
	unlock(t, openURL(t, urlOf(server.Addr)), lock(t, openURL(t, urlOf(server.Addr)), request("x")))
	server.Kill(t)
	server.Revive(t)
	b := openURL(t, urlOf(server.Addr, "restart_grace=false"))
	unlock(t, b, lock(t, b, noWait("p4")))
	native(t, server.Addr).exec(t, "DROP SEQUENCE locker_token")
	c := openURL(t, urlOf(server.Addr)) // makes one of this life
	unlock(t, c, lock(t, c, noWait("p4")))
}

// Locks that were waited for stay with their sessions, and these are capped.
func TestHazard_P5_Cap(t *testing.T) {
	t.Parallel()
	server := shared(t)
	a := openURL(t, urlOf(server.Addr))
	b := openURL(t, urlOf(server.Addr, "max_waiting=2"))
	var held []*backend.Grant
	for i := range 3 {
		held = append(held, lock(t, a, request(fmt.Sprint("p5-", i))))
	}
	w := []*backendtest.Call{queue(t, b, request("p5-0")), queue(t, b, request("p5-1"))}
	refused := func() {
		t.Helper()
		_, err := b.Lock(bounded(t), request("p5-2"))
		if err == nil || errors.Is(err, backend.ErrLocked) || !strings.Contains(err.Error(), "max_waiting") {
			t.Fatalf("a third wait: %v, want an error that names the cap, and not ErrLocked", err)
		}
	}
	refused()
	unlock(t, a, held[0])
	g := w[0].Granted(t, backendtest.Patience)
	refused() // one waits, one is held by the session that waited
	unlock(t, b, lock(t, b, request("p5-free")))
	unlock(t, b, g)
	w = append(w, queue(t, b, request("p5-2")))
	unlock(t, a, held[1])
	unlock(t, a, held[2])
	unlock(t, b, w[1].Granted(t, backendtest.Patience))
	unlock(t, b, w[2].Granted(t, backendtest.Patience))
}

// A waiter that leaves hands its statement, and its place, to the next one of
// its process.
func TestHazard_P5_LeavingWaiterKeepsThePlace(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	a, b, c := openURL(t, urlOf(server.Addr)), openURL(t, urlOf(server.Addr)), openURL(t, urlOf(server.Addr))
	held := lock(t, a, request("p5-place"))
	first := queue(t, b, request("p5-place"))
	second := queue(t, b, request("p5-place"))
	pid := admin.pidOf(t, "p5-place", false)
	other := queue(t, c, request("p5-place"))
	first.Cancel()
	<-first.Done
	if first.Grant != nil {
		t.Error("the waiter that left has something to withdraw")
	}
	unlock(t, a, held)
	g := second.Granted(t, backendtest.Patience)
	if now := admin.pidOf(t, "p5-place", true); now != pid {
		t.Errorf("the lock was granted to session %d, want the statement of the waiter that left, %d", now, pid)
	}
	unlock(t, b, g)
	unlock(t, c, other.Granted(t, backendtest.Patience))
	if n := admin.locks(t, "p5-place"); n != 0 {
		t.Errorf("the server has %d locks", n)
	}
}

// A lock's holder that runs CREATE INDEX CONCURRENTLY waits for the snapshots of
// those who wait for the lock: it has to get through (golang-migrate issue 960).
func TestHazard_P8_CreateIndexConcurrently(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres())
	migration := native(t, server.Addr)
	migration.exec(t, "CREATE TABLE p8 (i int)", "INSERT INTO p8 SELECT generate_series(1, 1000)")
	a, b := openURL(t, urlOf(server.Addr)), openURL(t, urlOf(server.Addr))
	held := lock(t, a, request("p8"))
	w := queue(t, b, request("p8"))
	ctx, cancel := context.WithCancel(t.Context())
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		for ctx.Err() == nil {
			a.Renew(ctx, []*backend.Grant{held})
			<-time.After(ttl / 20)
		}
	}()
	migration.exec(t, "CREATE INDEX CONCURRENTLY ON p8 (i)")
	cancel()
	<-renewed
	select {
	case <-w.Done:
		t.Fatalf("the waiter ended: %v", w.Err)
	default:
	}
	unlock(t, a, held)
	unlock(t, b, w.Granted(t, backendtest.Patience))
}

// Strangers whose statements go in one batch do not share their fate: a try that
// fails undoes no unlock that comes after it, and leaves no lock behind.
func TestHazard_P6_StrangersInOneBatch(t *testing.T) {
	t.Parallel()
	const pairs = 20
	server := shared(t)
	admin := native(t, server.Addr)
	sequence := newSequence(t, admin)
	network := proxy.Start(t, server.Addr, proxy.Raw)
	b := openURL(t, urlOf(network.Addr(), "sequence="+sequence, "restart_grace=false"))
	var coupled atomic.Bool // a write had a try, and an unlock after it
	network.Watch(func(request []byte) {
		_, after, found := bytes.Cut(request, []byte("locker_try"))
		if found && bytes.Contains(after, []byte("locker_unlock")) {
			coupled.Store(true)
		}
	})
	for round := 0; !coupled.Load(); round++ {
		if round == 20 {
			t.Fatal("no batch had a try before an unlock: the test has no teeth")
		}
		admin.exec(t, fmt.Sprintf("SELECT setval('%s', 1)", sequence))
		var held []*backend.Grant
		for i := range pairs {
			held = append(held, lock(t, b, request(fmt.Sprint("p6-held-", i))))
		}
		admin.exec(t, exhausted(sequence))
		first := network.Hold(nil)
		var all, begun sync.WaitGroup
		all.Go(func() { b.Renew(bounded(t), held[:1]) })
		<-first.Caught()
		begun.Add(2 * pairs)
		for i, g := range held {
			all.Go(func() {
				begun.Done()
				if g, err := b.Lock(bounded(t), noWait(fmt.Sprint("p6-fails-", i))); err == nil || g != nil || errors.Is(err, backend.ErrLocked) {
					t.Errorf("Lock without a token: %v %v, want an error alone", g, err)
				}
			})
			all.Go(func() {
				begun.Done()
				if err := b.Unlock(bounded(t), g); err != nil {
					t.Errorf("unlock %q: %v", g.Name, err)
				}
			})
		}
		begun.Wait()
		<-time.After(20 * time.Millisecond) // until they are queued: nobody tells
		if err := first.Release(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		for i := range pairs {
			for _, name := range []string{"p6-held-", "p6-fails-"} {
				if n := admin.locks(t, fmt.Sprint(name, i)); n != 0 {
					t.Errorf("the server has %d locks for %s%d", n, name, i)
				}
			}
		}
	}
}

// A client that stops reading, as a process that is stopped does, has no more
// under way than the server can answer into the socket. So the server comes to
// be idle, and frees the locks when a TTL has passed. The longest answers are
// errors; and on a Unix socket, where buffers are small, no time-out of the
// kernel's helps.
func TestHazard_P7_ClientThatStopsReading(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	for network, most := range map[string]int64{"tcp": 256, "unix": 32} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			const statements, ttl = 1000, 8 * time.Second
			sequence := newSequence(t, admin)
			addr := server.Addr
			if network == "unix" {
				addr = server.Root(t) + "/run/postgresql/.s.PGSQL.5432"
			}
			var stopped atomic.Bool
			var asked atomic.Int64
			answer, more, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
			tap := startTap(t, network, addr, func([]byte) { asked.Add(1) }, func(msg pgproto3.BackendMessage) {
				if _, ok := msg.(*pgproto3.ReadyForQuery); !ok || !stopped.Load() {
					return
				}
				select {
				case answer <- struct{}{}:
				case <-over:
				}
				select {
				case <-more:
				case <-over:
				}
			})
			t.Cleanup(func() { close(over) })
			url := urlOf(tap, "ttl=8s")
			if network == "unix" {
				url = "postgres://postgres:secret@/postgres?ttl=8s&host=" + filepath.Dir(tap)
			}
			b := openURL(t, url+"&restart_grace=false&sequence="+sequence)
			req := func(name string) backend.Request {
				r := request("p7-" + network + name)
				r.TTL = ttl
				return r
			}
			held := lock(t, b, req(""))
			w := queue(t, openURL(t, urlOf(server.Addr, "ttl=8s")), req(""))
			admin.exec(t, exhausted(sequence))

			stopped.Store(true)
			var all, begun sync.WaitGroup
			all.Go(func() { b.Renew(bounded(t), []*backend.Grant{held}) })
			<-answer // and nothing is sent before it is there
			before := asked.Load()
			begun.Add(statements)
			for i := range statements {
				all.Go(func() {
					begun.Done()
					g, err := b.Lock(bounded(t), req(fmt.Sprint(i)))
					if err == nil {
						t.Errorf("Lock without a token: %v", g)
					}
				})
			}
			begun.Wait()
			<-time.After(300 * time.Millisecond) // until they are queued: nobody tells
			more <- struct{}{}
			<-answer // and nothing more is read
			unlock(t, b, w.Granted(t, backendtest.Patience))
			if n := asked.Load() - before; n != most {
				t.Errorf("a client that has %d statements and reads no answer sent %d, want %d", statements, n, most)
			}
			all.Wait()
		})
	}
}

// A long wait does not hold back VACUUM for longer than the age of a snapshot.
func TestHazard_P8_Horizon(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	admin.exec(t, "CREATE TABLE IF NOT EXISTS p8_horizon (i int)")
	a, b := openURL(t, urlOf(server.Addr)), openURL(t, urlOf(server.Addr, "snapshot_age=1s"))
	// The lock's holder is a plain session, which needs no renewal.
	holder := native(t, server.Addr)
	holder.exec(t, fmt.Sprintf("SELECT pg_advisory_lock(%d)", postgres.Key("", "p8-horizon")))
	w := queue(t, b, request("p8-horizon"))
	pid := admin.pidOf(t, "p8-horizon", false)
	xmin := func() int64 {
		return admin.count(t, fmt.Sprintf("SELECT coalesce(max(backend_xmin::text::bigint), 0) FROM pg_stat_activity WHERE pid = %d", pid))
	}
	first := xmin()
	for range 2 { // it moves on again and again
		admin.exec(t, "INSERT INTO p8_horizon VALUES (1)")
		eventually(t, "a fresh snapshot", func() bool { x := xmin(); return x > first })
		first = xmin()
	}
	select {
	case <-w.Done:
		t.Fatalf("the waiter ended: %v", w.Err)
	default:
	}
	holder.exec(t, "SELECT pg_advisory_unlock_all()")
	unlock(t, b, w.Granted(t, backendtest.Patience))
	unlock(t, a, lock(t, a, noWait("p8-horizon")))
}

// The server's idle timer starts when it grants; the news may come much later.
func TestHazard_G2b_LateNewsOfTheGrant(t *testing.T) {
	t.Parallel()
	server := shared(t)
	network := proxy.Start(t, server.Addr, proxy.Raw)
	a, b := openURL(t, urlOf(server.Addr)), openURL(t, urlOf(network.Addr(), "ttl=5s"))
	held := lock(t, a, request("g2b"))
	req := request("g2b")
	req.TTL = 5 * time.Second
	w := queue(t, b, req)
	network.Stall(proxy.ToClient)
	unlock(t, a, held)
	<-time.After(time.Second)
	healed := backend.Now()
	if err := network.Heal(); err != nil {
		t.Fatal(err)
	}
	g := w.Granted(t, backendtest.Patience)
	if sent := g.Until.Add(-req.TTL); sent.Before(healed) {
		t.Errorf("Until counts from %v before the news of the grant could come", healed.Sub(sent))
	}
	unlock(t, b, g)
}

// A connection that has ended here lives on in the server, with its locks.
func TestHazard_G5b_SessionThatOutlivesItsConnection(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	network := proxy.Start(t, server.Addr, proxy.Postgres)
	b := openURL(t, urlOf(network.Addr(), "ttl=1h"))
	req := request("g5b")
	req.TTL = time.Hour
	g := lock(t, b, req)
	request := network.Hold(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Unlock(ctx, g); err == nil || errors.Is(err, backend.ErrLost) {
		t.Fatalf("Unlock that was not sent: %v, want an error that is not ErrLost", err)
	}
	network.Reset() // the server's side stays open
	if n := admin.locks(t, "g5b"); n != 1 {
		t.Fatalf("the server has %d locks, want 1: the test has no teeth", n)
	}
	withdraw(t, b, g)
	if n := admin.locks(t, "g5b"); n != 0 {
		t.Errorf("after the withdrawal the server has %d locks", n)
	}
	_ = request.Release()
}

// A promoted standby lacks what the primary had not sent yet, and every lock:
// who holds one on a primary that is out of reach goes on believing so. Tokens
// go on from the clock all the same, and are the guard.
func TestHazard_P3_Promotion(t *testing.T) {
	t.Parallel()
	pair := servertest.PostgresWithStandby(t)
	network := proxy.Start(t, pair.Primary.Addr, proxy.Raw)
	a := openURL(t, urlOf(network.Addr(), "ttl=10m"))
	var last int64
	draw := func(b backend.Backend, req backend.Request) *backend.Grant {
		t.Helper()
		g := lock(t, b, req)
		if g.Token <= last {
			t.Fatalf("token %d after %d", g.Token, last)
		}
		last = g.Token
		return g
	}
	long := noWait("promotion")
	long.TTL = 10 * time.Minute
	unlock(t, a, draw(a, long))
	standby := native(t, pair.Standby.Addr)
	eventually(t, "the standby has the sequence", func() bool {
		return standby.count(t, "SELECT count(*) FROM pg_class WHERE relname = 'locker_token'") == 1
	})
	standby.exec(t, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()") // it falls behind
	eventually(t, "the standby receives nothing", func() bool {
		return standby.count(t, "SELECT count(*) FROM pg_stat_wal_receiver") == 0
	})
	for range 100 { // the log is up to 32 ahead
		unlock(t, a, draw(a, long))
	}
	told := make(chan error, 1)
	long.Lost = func(err error) { told <- err }
	held := draw(a, long)
	network.BlackHole()
	pair.Primary.Kill(t)
	pair.Promote(t)
	has := standby.count(t, "SELECT last_value FROM locker_token")
	t.Logf("the standby's sequence is %d behind the last token", last-has)
	if has >= last {
		t.Errorf("the standby's sequence is at %d, and the last token is %d: nothing was lost, the test has no teeth", has, last)
	}

	b := openURL(t, urlOf(pair.Standby.Addr, "restart_grace=false")) // as on a standby that runs for days
	next := draw(b, noWait("promotion"))
	if backend.Now().After(held.Until) || len(told) > 0 {
		t.Error("the holder before knows of its loss: the test has no teeth")
	}
	unlock(t, b, next)
	for range 10 {
		unlock(t, b, draw(b, noWait("promotion")))
	}
}
