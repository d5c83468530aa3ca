// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

const postgresPort = 5432

// PostgresURL is the URL of the superuser's database on a server of this package.
func PostgresURL(addr string) string {
	return "postgres://postgres:secret@" + addr + "/postgres?sslmode=disable"
}

// Postgres is one Postgres server. Its data survives a kill of the server,
// though not one of the machine. Settings are written as name=value:
//
//	Postgres("max_connections=300")
func Postgres(settings ...string) Spec {
	return Spec{
		Server: "postgres",
		Port:   postgresPort,
		Env:    map[string]string{"POSTGRES_PASSWORD": "secret"},
		Cmd:    append([]string{"postgres"}, postgresFlags(settings)...),
		Ready: func(ctx context.Context, addr string) error {
			return askPostgres(ctx, addr, "SELECT 1")
		},
		EndSessions: func(t testing.TB, s *Server) {
			t.Helper()
			err := askPostgres(t.Context(), s.Addr,
				"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
			if err != nil {
				t.Fatalf("servertest: end the sessions of postgres: %v", err)
			}
		},
	}
}

// PostgresPair is a primary and its hot standby.
type PostgresPair struct {
	Primary *Server
	Standby *Server // answers reads; Promote makes it a primary
}

// PostgresWithStandby starts a primary and a standby that streams from it.
// What the primary commits reaches the standby a little later.
func PostgresWithStandby(t testing.TB, settings ...string) PostgresPair {
	t.Helper()
	network := NewNetwork(t)
	primary := Postgres(settings...)
	primary.Network, primary.Alias = network, "primary"
	pair := PostgresPair{Primary: Start(t, primary)}
	pair.Primary.Exec(t, "sh", "-c", `echo "host replication all all trust" >>"$PGDATA/pg_hba.conf"`)
	if err := askPostgres(t.Context(), pair.Primary.Addr, "SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	standby := Postgres(settings...)
	standby.Network, standby.Alias = network, "standby"
	standby.Entrypoint = []string{"sh", "-c", `
		install -d -o postgres -g postgres -m 0700 "$PGDATA"
		[ -s "$PGDATA/PG_VERSION" ] || setpriv --reuid=postgres --regid=postgres --init-groups \
			pg_basebackup -h primary -U postgres -D "$PGDATA" -R -X stream -c fast --no-sync || exit
		exec docker-entrypoint.sh "$@"`, "standby"}
	pair.Standby = Start(t, standby)
	return pair
}

// Promote makes the standby a primary and returns when it takes writes.
func (p PostgresPair) Promote(t testing.TB) {
	t.Helper()
	if err := askPostgres(t.Context(), p.Standby.Addr, "SELECT pg_promote()"); err != nil {
		t.Fatalf("servertest: promote the standby: %v", err)
	}
}

func postgresFlags(settings []string) []string {
	// Without fsync only a crash of the machine loses data.
	var flags []string
	for _, setting := range append([]string{"fsync=off", "full_page_writes=off"}, settings...) {
		flags = append(flags, "-c", setting)
	}
	return flags
}

func askPostgres(ctx context.Context, addr, question string) (err error) {
	conn, err := pgx.Connect(ctx, PostgresURL(addr))
	if err != nil {
		return fmt.Errorf("connect: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	_, err = conn.Exec(ctx, question)
	return errors.Join(err, conn.Close(ctx))
}
