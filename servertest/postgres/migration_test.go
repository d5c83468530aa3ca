// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/golocker/locker"
)

// Instances of a program start at once, and each migrates the database first,
// under the lock, as golang-migrate and goose do. The one that gets it builds an
// index concurrently, and so waits for the snapshots of those that wait for it
// (golang-migrate issue 960). All have to get through, and one migrates.
func TestMigration(t *testing.T) {
	t.Parallel()
	const instances = 4
	server := shared(t)
	database := unique("migration")
	native(t, server.Addr).exec(t, "CREATE DATABASE "+database)
	url := strings.Replace(urlOf(server.Addr), "/postgres?", "/"+database+"?", 1)
	admin := nativeURL(t, url)
	admin.exec(t, "CREATE TABLE customers (name text)", "INSERT INTO customers SELECT 'x' FROM generate_series(1, 1000)", "CREATE TABLE versions (version int)")
	migrate := func(ctx context.Context, app *locker.Client, db *psql) error {
		return locker.Do(ctx, app, "migrate", func(ctx context.Context, _ *locker.Lease) error {
			if db.count(t, "SELECT count(*) FROM versions") > 0 {
				return nil
			}
			eventually(t, "the others wait", func() bool {
				state, err := locker.Inspect(ctx, app, "migrate")
				return err == nil && state.Waiters == instances-1
			})
			db.exec(t, "CREATE INDEX CONCURRENTLY by_name ON customers (name)", "INSERT INTO versions VALUES (1)")
			return nil
		})
	}
	var all sync.WaitGroup
	for range instances {
		app, db := openClient(t, url), nativeURL(t, url)
		all.Go(func() {
			if err := migrate(bounded(t), app, db); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := admin.count(t, "SELECT count(*) FROM versions"); n != 1 {
		t.Errorf("%d instances migrated, want 1", n)
	}
	if n := admin.count(t, "SELECT count(*) FROM pg_index WHERE indexrelid = 'by_name'::regclass AND indisvalid"); n != 1 {
		t.Error("the index is not valid")
	}
}
