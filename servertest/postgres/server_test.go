// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/postgres"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
	"github.com/golocker/locker/servertest/proxy"
)

// refusal opens a URL, which must fail with a text that says what is wrong, on
// one line.
func refusal(t testing.TB, rawURL string, want ...string) {
	t.Helper()
	c, err := tryClient(t, rawURL)
	if err == nil {
		c.Close()
		t.Errorf("no error, want one with %q", want)
		return
	}
	wantText(t, err, want...)
}

func wantText(t testing.TB, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v, want an error with %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %v", err)
	}
	if errors.Is(err, locker.ErrLocked) || errors.Is(err, locker.ErrLost) {
		t.Errorf("a refusal is ErrLocked or ErrLost: %v", err)
	}
}

func TestRights(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres())
	admin := native(t, server.Addr)
	admin.exec(t, "CREATE ROLE \"some app\" LOGIN PASSWORD 'secret'")
	url := "postgres://some%20app:secret@" + server.Addr + "/postgres?sslmode=disable"
	refusal(t, url, "CREATE SEQUENCE", "START", "GRANT USAGE, SELECT, UPDATE", `"some app"`)

	// What the error prints is what has to be run.
	_, err := locker.Open(bounded(t), url, &locker.Config{TTL: ttl})
	_, statements, _ := strings.Cut(err.Error(), "run: ")
	statements, _, _ = strings.Cut(statements, `TO "some app"`)
	create, grant, _ := strings.Cut(statements, "; ")
	admin.exec(t, create)
	refusal(t, url, "may not use the sequence", "GRANT USAGE, SELECT, UPDATE")
	admin.exec(t, grant+`TO "some app"`)
	b := openURL(t, url)
	unlock(t, b, lock(t, b, noWait("rights")))

	admin.exec(t, "ALTER ROLE \"some app\" CONNECTION LIMIT 1")
	refusal(t, url, "no connection left")
}

func TestSequencesThatAreRefused(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres())
	admin := native(t, server.Addr)
	for sql, want := range map[string]string{
		"CREATE UNLOGGED TABLE IF NOT EXISTS u (i bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s_unlogged))": "bigint",
		"CREATE SEQUENCE s_cache CACHE 10":                                        "CACHE 1",
		"CREATE SEQUENCE s_cycle CYCLE":                                           "NO CYCLE",
		"CREATE SEQUENCE s_down INCREMENT -1":                                     "positive INCREMENT",
		"CREATE SEQUENCE s_int AS integer":                                        "bigint",
		"CREATE TABLE s_table (i int)":                                            "not a sequence",
		"CREATE SEQUENCE s_two; CREATE SCHEMA other; CREATE SEQUENCE other.s_two": "2 sequences",
	} {
		name := sql[strings.Index(sql, "s_"):]
		name = name[:strings.IndexAny(name+" ", " ;)")]
		if name == "s_unlogged" {
			continue // Postgres 15 has none; the check is tested with its pure function
		}
		admin.exec(t, sql)
		refusal(t, urlOf(server.Addr, "sequence="+name), want)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres("max_connections=10", "superuser_reserved_connections=1", "max_locks_per_transaction=10", "max_wal_senders=0"))
	admin := native(t, server.Addr)
	admin.exec(t, "CREATE ROLE app LOGIN PASSWORD 'secret'", "GRANT CREATE ON SCHEMA public TO app")
	url := "postgres://app:secret@" + server.Addr + "/postgres?sslmode=disable"
	b := openURL(t, url+"&ttl=1m")
	minute := func(name string) backend.Request {
		r := noWait(name)
		r.TTL = time.Minute
		return r
	}
	var grants []*backend.Grant
	var full error
	for i := 0; full == nil && i < 20_000; i++ {
		g, err := b.Lock(bounded(t), minute(fmt.Sprint("limit-", i)))
		if err == nil {
			grants = append(grants, g)
		} else if full = err; g != nil {
			t.Errorf("the refused lock has something to withdraw")
		}
	}
	wantText(t, full, "lock table is full", "max_locks_per_transaction")
	for _, g := range grants {
		if r := b.Renew(bounded(t), []*backend.Grant{g}); r[0].Err != nil {
			t.Fatalf("a lock is lost since another was refused: %v", r[0].Err)
		}
		unlock(t, b, g)
	}
	if n := admin.count(t, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"); n != 0 {
		t.Errorf("the server has %d advisory locks", n)
	}

	var others []*psql
	for range 7 {
		others = append(others, nativeURL(t, url))
	}
	refusal(t, url, "no connection left", "max_connections")
	// A wait needs a connection too, and what is held needs none.
	others[0].exec(t, fmt.Sprintf("SELECT pg_advisory_lock(%d)", postgres.Key("", "full")))
	held := lock(t, b, minute("full-held"))
	waits := minute("full")
	waits.NoWait = false
	g, err := b.Lock(bounded(t), waits)
	wantText(t, err, "no connection left", "max_connections")
	if g != nil {
		t.Error("a wait without a connection has something to withdraw")
	}
	if err := others[1].conn.Close(bounded(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a connection is free", func() bool {
		return admin.count(t, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == 7
	})
	w := queue(t, b, waits)
	others[0].exec(t, "SELECT pg_advisory_unlock_all()")
	unlock(t, b, w.Granted(t, backendtest.Patience))
	unlock(t, b, held)
}

func TestStandbyIsRefused(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servertest.Postgres())
	server.Exec(t, "sh", "-c", `touch "$PGDATA/standby.signal"`)
	server.Restart(t) // a standby of nobody
	refusal(t, servertest.PostgresURL(server.Addr), "standby", "primary")

	primary := shared(t)
	a := openURL(t, "postgres://postgres:secret@"+server.Addr+","+primary.Addr+"/postgres?sslmode=disable")
	unlock(t, a, lock(t, a, noWait("standby")))
	refusal(t, "postgres://postgres:secret@"+server.Addr+","+primary.Addr+"/postgres?sslmode=disable&target_session_attrs=standby", "standby")
}

// A server that is too old says so itself: here what it says on a real
// connection is changed on the way.
func TestOldServerIsRefused(t *testing.T) {
	t.Parallel()
	server := shared(t)
	var version atomic.Value
	var asked atomic.Int64
	addr := startTap(t, "tcp", server.Addr, func([]byte) { asked.Add(1) }, func(msg pgproto3.BackendMessage) {
		if p, ok := msg.(*pgproto3.ParameterStatus); ok && p.Name == "server_version" {
			p.Value = version.Load().(string)
		}
	})
	for _, old := range []string{"13.18 (Debian 13.18-0+deb11u1)", "9.6.24"} {
		version.Store(old)
		want := []string{"the server is Postgres " + old, "idle_session_timeout", "version 14 or later"}
		refusal(t, urlOf(addr), want...)
		b := newBackend(t, newPool(t, servertest.PostgresURL(addr), nil), nil)
		g, err := lockInTime(t, b, noWait("old"))
		wantText(t, err, want...)
		if g != nil {
			t.Error("a refused lock has something to withdraw")
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d statements were sent to a server that is refused", n)
	}
	version.Store("14.0")
	b := openURL(t, urlOf(addr))
	unlock(t, b, lock(t, b, noWait("old")))
}

// A host that is off takes its part of the time to connect, not all of it.
func TestSilentHostAmongSeveral(t *testing.T) {
	t.Parallel()
	server := shared(t)
	silent := make([]string, 2)
	for i := range silent {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		silent[i] = listener.Addr().String()
	}
	hosts := "postgres://postgres:secret@" + strings.Join(append(silent, server.Addr), ",") + "/postgres?sslmode=disable"
	b := openURL(t, hosts)
	unlock(t, b, lock(t, b, noWait("silent")))
	c := newBackend(t, newPool(t, hosts+"&target_session_attrs=primary", nil), nil)
	g, err := lockInTime(t, c, noWait("silent"))
	if err != nil {
		t.Fatal(err)
	}
	unlock(t, c, g)
}

// lockInTime locks with a backend that has not connected yet, however long the
// machine stands still.
func lockInTime(t testing.TB, b backend.Backend, req backend.Request) (g *backend.Grant, err error) {
	t.Helper()
	eventually(t, "the server answers", func() bool {
		g, err = b.Lock(bounded(t), req)
		return !errors.Is(err, backend.ErrUnavailable)
	})
	return g, err
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	begin := backend.Now()
	_, err = tryOpen(bounded(t), fmt.Sprintf("postgres://127.0.0.1:%d/x", port))
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("nobody listens: %v, want ErrUnavailable", err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, err = tryOpen(bounded(t), "postgres://"+silent.Addr().String()+"/x?sslmode=disable")
	if !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("nobody answers: %v, want ErrUnavailable", err)
	}
	if took := backend.Now().Sub(begin); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert := servertest.NewCertificate(t)
	spec := servertest.Postgres()
	spec.Files = map[string]string{"/tls/server.crt": cert.Cert, "/tls/server.key": cert.Key, "/tls/ca.crt": cert.CA}
	server := servertest.Start(t, spec)
	server.Exec(t, "sh", "-c", `install -o postgres -m 600 /tls/server.key "$PGDATA/server.key" && install -o postgres -m 600 /tls/server.crt "$PGDATA/server.crt" &&
		install -o postgres -m 600 /tls/ca.crt "$PGDATA/ca.crt" && printf '%s\n' 'hostssl all locker all cert' "$(cat "$PGDATA/pg_hba.conf")" > /tmp/hba && cat /tmp/hba > "$PGDATA/pg_hba.conf"`)
	admin := native(t, server.Addr)
	admin.exec(t, "ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'", "SELECT pg_reload_conf()")
	dir := t.TempDir()
	for name, text := range map[string]string{"ca": cert.CA, "cert": cert.Cert, "key": cert.Key} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verified := "postgres://postgres:secret@" + server.Addr + "/postgres?sslmode=verify-full&sslrootcert=" + dir + "/ca"
	eventually(t, "the server speaks TLS", func() bool {
		b, err := tryOpen(bounded(t), verified)
		if err == nil {
			_ = b.Close()
		}
		return err == nil
	})
	b := openURL(t, verified)
	g := lock(t, b, request("tls"))
	w := queue(t, b, request("tls"))
	eventually(t, "two sessions are encrypted, and those of the tries have ended", func() bool {
		return admin.count(t, "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND application_name = 'locker'") == 2
	})
	unlock(t, b, g)
	unlock(t, b, w.Granted(t, backendtest.Patience))
	refusal(t, "postgres://postgres:secret@"+server.Addr+"/postgres?sslmode=verify-full", "certificate")

	admin.exec(t, "CREATE ROLE locker LOGIN", "GRANT USAGE, SELECT, UPDATE ON SEQUENCE locker_token TO locker")
	byCertificate := strings.Replace(verified, "postgres:secret@", "locker@", 1)
	refusal(t, byCertificate, "certificate")
	c := openURL(t, byCertificate+"&sslcert="+dir+"/cert&sslkey="+dir+"/key")
	unlock(t, c, lock(t, c, noWait("tls")))
}

// The server lets in who proves that it has the password, which never crosses the
// wire, by SCRAM-SHA-256; and whoever has another is told so.
func TestSCRAM(t *testing.T) {
	t.Parallel()
	server := talkative(t)
	admin := native(t, server.Addr)
	role := unique("scram")
	admin.exec(t, "CREATE ROLE "+role+" LOGIN PASSWORD '"+secret+"'", "CREATE SCHEMA AUTHORIZATION "+role)
	if n := admin.count(t, "SELECT count(*) FROM pg_authid WHERE rolname = '"+role+"' AND rolpassword LIKE 'SCRAM-SHA-256$%'"); n != 1 {
		t.Fatal("the server keeps the password otherwise than for SCRAM: the test has no teeth")
	}
	network := proxy.Start(t, server.Addr, proxy.Raw)
	var sent atomic.Int64
	network.Watch(func(request []byte) {
		sent.Add(int64(len(request)))
		if bytes.Contains(request, []byte(secret)) {
			t.Errorf("the client sent the password: %q", request)
		}
	})
	url := func(password string) string {
		return "postgres://" + role + ":" + password + "@" + network.Addr() + "/postgres?sslmode=disable&sequence=" + role + ".tokens"
	}
	b := openURL(t, url(secret))
	unlock(t, b, lock(t, b, noWait("scram")))
	if !strings.Contains(server.Logs(t), `connection authenticated: identity="`+role+`" method=scram-sha-256`) {
		t.Error("the server let the client in by another method")
	}

	_, err := tryOpen(bounded(t), url(secret+"x"))
	wantText(t, err, "password authentication failed", role)
	if err != nil && (strings.Contains(err.Error(), secret) || errors.Is(err, backend.ErrUnavailable)) {
		t.Errorf("a wrong password: %v, want a refusal without the password", err)
	}
	if sent.Load() == 0 {
		t.Error("nothing was seen: the test has no teeth")
	}
}

// The server's own socket, and not a stand-in for it: the kernel's time-outs that
// a session asks for do not exist there.
func TestServersUnixSocket(t *testing.T) {
	t.Parallel()
	server := shared(t)
	b := openURL(t, "postgres://postgres:secret@/postgres?application_name=unix&host="+server.Root(t)+"/run/postgresql")
	g := lock(t, b, request("servers-unix"))
	w := queue(t, b, request("servers-unix"))
	if n := native(t, server.Addr).count(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'unix' AND client_port = -1"); n != 2 {
		t.Errorf("%d sessions came by the socket, want 2", n)
	}
	unlock(t, b, g)
	unlock(t, b, w.Granted(t, backendtest.Patience))
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	server := shared(t)
	dir := t.TempDir()
	listener, err := net.Listen("unix", dir+"/.s.PGSQL.5433")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go forward(listener, server.Addr)
	b := openURL(t, "postgres://postgres:secret@/postgres?host="+dir+"&port=5433")
	g := lock(t, b, request("unix"))
	w := queue(t, b, request("unix"))
	unlock(t, b, g)
	unlock(t, b, w.Granted(t, backendtest.Patience))
}

// forward leads connections to a server, until the listener is closed.
func forward(listener net.Listener, addr string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", addr)
		if err != nil {
			from.Close()
			return
		}
		go func() { _, _ = io.Copy(to, from); to.Close() }()
		go func() { _, _ = io.Copy(from, to); from.Close() }()
	}
}
