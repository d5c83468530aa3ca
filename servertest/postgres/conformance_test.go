// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/postgres"
	"github.com/golocker/locker/servertest"
)

const secret = "correct-horse-battery"

func TestConformance(t *testing.T) {
	server := servertest.Start(t, servertest.Postgres("max_connections=500"))
	admin := native(t, server.Addr)
	admin.exec(t, "CREATE ROLE app LOGIN PASSWORD '"+secret+"'", "GRANT CREATE ON SCHEMA public TO app")
	conformance.Run(t, conformance.Harness{
		Parallel: 8, // a connection is a process of the server, and its password costs both sides dearly
		Open:     opener(server, "app:"+secret),
		URL:      "postgres://app:" + secret + "@" + server.Addr + "/postgres?sslmode=disable",
		Break: func(t testing.TB, name string) {
			n := admin.count(t, "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE granted AND "+isKey(name))
			if n != 1 {
				t.Fatalf("%d sessions hold %q", n, name)
			}
		},
		Leftovers: func(ctx context.Context, name string) ([]string, error) {
			return admin.texts(ctx, "SELECT format('pid %s, granted %s: %s', pid, granted, query) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE "+isKey(name))
		},
		Refusals: map[string]func(context.Context) error{
			"wrong password": func(ctx context.Context) error {
				return refused(ctx, "postgres://app:"+secret+"x@"+server.Addr+"/postgres")
			},
			"no password": func(ctx context.Context) error { return refused(ctx, "postgres://app@"+server.Addr+"/postgres") },
			"unknown database": func(ctx context.Context) error {
				return refused(ctx, "postgres://app:"+secret+"@"+server.Addr+"/nothing")
			},
			"no TLS": func(ctx context.Context) error {
				return refused(ctx, "postgres://app:"+secret+"@"+server.Addr+"/postgres?sslmode=verify-full")
			},
		},
		Secrets: []string{secret},
		NewServer: func(t testing.TB) conformance.Server {
			own := servertest.Start(t, servertest.Postgres())
			return own.Breakable(t, opener(own, "postgres:secret"))
		},
	})
}

// isKey is a condition on pg_locks: the lock of a name.
func isKey(name string) string {
	key := uint64(postgres.Key("", name))
	return fmt.Sprintf("locktype = 'advisory' AND objsubid = 1 AND classid = %d AND objid = %d", uint32(key>>32), uint32(key))
}

// opener opens clients with a proxy each.
func opener(server *servertest.Server, user string) func(testing.TB) conformance.Client {
	return func(t testing.TB) conformance.Client {
		link := servertest.StartLink(t, server.Addr)
		link.Stall = true
		b := openURL(t, "postgres://"+user+"@"+link.Addr()+"/postgres?sslmode=disable&ttl=2s&max_waiting=200")
		return conformance.Client{Backend: b, Link: link}
	}
}

// refused opens a URL, and locks.
func refused(ctx context.Context, rawURL string) error {
	c, err := locker.Open(ctx, rawURL, &locker.Config{TTL: 2 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Lock(ctx, "refused", locker.NoWait())
	return err
}
