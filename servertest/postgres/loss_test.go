// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// A holder hears at once of a primary that is shut down in good order, and of
// one that is killed. Who waits goes on waiting, while no host is a primary too,
// and both lock where the primary is then, with larger tokens.
func TestLossOfThePrimary(t *testing.T) {
	t.Parallel()
	pair := servertest.PostgresWithStandby(t)
	// No grace, as on a standby that has run for days when it is promoted.
	hosts := "postgres://postgres:secret@" + pair.Primary.Addr + "," + pair.Standby.Addr + "/postgres?sslmode=disable&ttl=5m&restart_grace=false"
	a, b := openClient(t, hosts), openClient(t, hosts)
	lossOf(t, "shut down", a, b, func() { pair.Primary.Restart(t) })
	lossOf(t, "killed", a, b, func() {
		pair.Primary.Exec(t, "sh", "-c", `touch "$PGDATA/standby.signal"`)
		pair.Primary.Kill(t)
		pair.Primary.Revive(t)                                              // a standby of nobody
		eventually(t, "the hosts say that they are standbys", func() bool { // a busy one may not answer in time
			_, err := tryOpen(bounded(t), hosts)
			if !errors.Is(err, backend.ErrUnavailable) {
				t.Fatalf("no host is a primary: %v, want ErrUnavailable", err)
			}
			return strings.Contains(err.Error(), "standby")
		})
		pair.Promote(t)
	})
}

// lossOf has a hold a lock and b wait for it while the primary ends.
func lossOf(t testing.TB, how string, a, b *locker.Client, end func()) {
	t.Helper()
	lease, err := a.Lock(bounded(t), "loss")
	if err != nil {
		t.Fatalf("%s: %v", how, err)
	}
	w := behind(t, b, a, lease)
	end()
	select {
	case <-lease.Context().Done():
	case <-time.After(30 * time.Second): // a tenth of the TTL
		t.Fatalf("%s: the holder does not hear of it", how)
	}
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("%s: the lease ended with %v, want ErrLost", how, lease.Err())
	}
	w.Granted(t, time.Minute, lease)
	if err := b.Unlock(bounded(t), w.Lease); err != nil {
		t.Errorf("%s: %v", how, err)
	}
	ctx := bounded(t)
	again, err := a.Lock(ctx, "loss")
	for errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil { // a busy host did not answer in time
		again, err = a.Lock(ctx, "loss")
	}
	if err != nil {
		t.Fatalf("%s: the next Lock of who held: %v", how, err)
	}
	if err := a.Unlock(bounded(t), again); err != nil {
		t.Errorf("%s: %v", how, err)
	}
}

// The server has said that another holds the lock, and an outage ends all connections
// before the waiter knows its place in the queue: while it prepares the connection
// that it waits on, or asks whether its statement is queued. It waits on all the same.
func TestOutageBeforeTheQueueIsConfirmed(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	for name, c := range map[string]struct {
		request string // the one after which the outage begins
		locks   int64  // held or waited for, then
	}{
		"its connection": {"idle_session_timeout", 1},
		"its place":      {"wait_event", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network := proxy.Start(t, server.Addr, proxy.Postgres)
			a, b := openURL(t, urlOf(server.Addr)), openClient(t, urlOf(network.Addr()))
			key := unique("unconfirmed")
			held := lock(t, a, request(key))
			request := network.Hold(func(request []byte) bool { return bytes.Contains(request, []byte(c.request)) })
			var lease *locker.Lease
			waited := make(chan error, 1)
			go func() {
				var err error
				lease, err = b.Lock(bounded(t), key)
				waited <- err
			}()
			select {
			case <-request.Caught():
			case err := <-waited:
				t.Fatalf("it did not send %q: %v", c.request, err)
			}
			eventually(t, "what the server knows of it", func() bool { return admin.locks(t, key) == c.locks })
			network.Refuse()
			select {
			case err := <-waited:
				t.Fatalf("the wait ended: %v", err)
			case <-time.After(time.Second): // some tries
			}
			unlock(t, a, held)
			if err := network.Heal(); err != nil {
				t.Fatal(err)
			}
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			if err := b.Unlock(bounded(t), lease); err != nil {
				t.Error(err)
			}
		})
	}
}
