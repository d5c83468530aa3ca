// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// talkative is a server that logs each statement, and who connects.
func talkative(t testing.TB) *servertest.Server {
	t.Helper()
	return servertest.Shared(t, servertest.Postgres("log_statement=all", "log_connections=on", "log_line_prefix=%a %u: "))
}

// activity is what pg_stat_activity has of a session.
type activity struct {
	State, Wait, Query         string
	Transaction, XID, Snapshot bool // it has an open one
}

func (p *psql) activity(t testing.TB, pid int64) (a activity) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	rows, err := p.conn.Query(bounded(t), `SELECT coalesce(state, '') AS state, concat_ws(':', wait_event_type, wait_event) AS wait, query,
		xact_start IS NOT NULL AS transaction, backend_xid IS NOT NULL AS xid, backend_xmin IS NOT NULL AS snapshot
		FROM pg_stat_activity WHERE pid = $1`, pid)
	if err == nil {
		a, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByNameLax[activity])
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Who holds locks leaves nothing open in the server. Who waits has the statement
// that waits, and what it cannot do without: its own transaction, and the snapshot
// that P8 is about. Nobody sends a notification, or listens to one, or sleeps.
func TestNothingIsParked(t *testing.T) {
	t.Parallel()
	server := talkative(t)
	admin := native(t, server.Addr)
	a := openURL(t, urlOf(server.Addr, "application_name=quiet"))
	b := openURL(t, urlOf(server.Addr, "application_name=quiet", "snapshot_age=1s"))
	is := func(who string, pid int64, want activity) {
		t.Helper()
		var got activity
		defer func() {
			if got != want {
				t.Logf("%s: %+v", who, got)
			}
		}()
		eventually(t, fmt.Sprintf("%s: %+v", who, want), func() bool {
			got = admin.activity(t, pid)
			if got.Query == "" { // it has kept itself alive meanwhile
				got.Query = want.Query
			}
			return got == want
		})
	}
	idle := func(query string) activity { return activity{State: "idle", Wait: "Client:ClientRead", Query: query} }

	held := lock(t, a, request("quiet"))
	holder := admin.pidOf(t, "quiet", true)
	is("the holder", holder, idle("SELECT CASE WHEN pg_try_advisory_lock($1) THEN nextval('public.locker_token'::regclass) END"))
	w := queue(t, b, request("quiet"))
	waiter := admin.pidOf(t, "quiet", false)
	is("the waiter", waiter, activity{State: "active", Wait: "Lock:advisory", Query: "SELECT pg_advisory_lock($1)", Transaction: true, Snapshot: true})
	if r := a.Renew(bounded(t), []*backend.Grant{held})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	is("the holder of what is waited for", holder, idle(""))
	eventually(t, "a fresh snapshot", func() bool { return strings.Contains(server.Logs(t), "pg_cancel_backend") })

	unlock(t, a, held)
	g := w.Granted(t, backendtest.Patience)
	is("the holder that waited", waiter, idle("SELECT nextval('public.locker_token'::regclass)"))
	unlock(t, b, g)
	is("the session that waited", waiter, idle("SELECT pg_advisory_unlock_all()"))
	held = lock(t, a, request("quiet"))
	w = queue(t, b, request("quiet"))
	w.Cancel()
	<-w.Done
	unlock(t, a, held)
	_, _ = a.Close(), b.Close()

	said := server.Logs(t)
	for statement := range strings.FieldsSeq("locker_try locker_wait locker_unlock locker_unlock_all locker_token pg_cancel_backend pg_stat_get_activity") {
		if !strings.Contains(said, statement) {
			t.Errorf("the server's log does not have %s: the test has no teeth", statement)
		}
	}
	if bad := parked.FindString(said); bad != "" {
		t.Errorf("the server was told: %s", bad)
	}
}

// parked is what a line of a server's log has that shows a lock which harms.
var parked = regexp.MustCompile(`(?im)^quiet .*\b(notify|pg_notify|listen|pg_sleep\w*|begin|start transaction|declare|savepoint)\b.*$`)
