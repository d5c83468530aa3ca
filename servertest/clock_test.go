// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
)

// near says whether a server's clock differs from this machine's by about d.
func near(t *testing.T, when string, server time.Time, d time.Duration) {
	t.Helper()
	if off := time.Until(server) - d; off.Abs() > slack/2 {
		t.Errorf("%s: the server's clock is wrong by %v, want %v", when, off+d, d)
	}
}

// A jump of Redis' wall clock frees a lock that its holder renews in time.
func TestMovableClockOfRedis(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.MovableClock(t, servertest.Redis()))
	client := fresh(t, srv)
	now := func() time.Time {
		t.Helper()
		at, err := client.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	near(t, "at first", now(), 0)
	if err := client.SetNX(t.Context(), "lock", "a", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	srv.MoveClock(t, 2*time.Minute)
	near(t, "after a jump", now(), 2*time.Minute)
	if free, err := client.SetNX(t.Context(), "lock", "b", time.Minute).Result(); err != nil || !free {
		t.Errorf("the lock of a minute is not free two minutes later: %v, %v", free, err)
	}
	srv.MoveClock(t, -3*time.Minute)
	near(t, "after a jump back", now(), -time.Minute)
}

func TestMovableClockOfPostgres(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.MovableClock(t, servertest.Postgres()))
	now := func() (at time.Time) {
		t.Helper()
		if err := newPostgres(t, srv.Addr).QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	near(t, "at first", now(), 0)
	srv.MoveClock(t, -time.Hour)
	near(t, "after a jump back", now(), -time.Hour)
	srv.Kill(t)
	srv.Revive(t)
	near(t, "after a restart", now(), -time.Hour)
	srv.Empty(t)
	near(t, "of a new server", now(), 0)
}
