// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"strings"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest"
)

// A lease lives through a failover, and so does the queue behind it.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master := startServer(t)
	replica := startServer(t, "--replicaof", inside(t, master), "6379", "--repl-diskless-sync-delay", "0")
	spec := servertest.Redis()
	spec.Cmd = []string{"redis-server", "/tmp/sentinel.conf", "--sentinel", "--port", "6379", "--protected-mode", "no"}
	spec.Files = map[string]string{"/tmp/sentinel.conf": "\n"}
	sentinel := servertest.Start(t, spec)

	ctx, s := bounded(t), raw(t, sentinel)
	for _, command := range [][]any{
		{"SENTINEL", "MONITOR", "m", inside(t, master), 6379, 1},
		{"SENTINEL", "SET", "m", "down-after-milliseconds", 1000, "failover-timeout", 5000},
	} {
		if err := s.Do(ctx, command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	m, r := raw(t, master), raw(t, replica)
	eventually(t, "the replica follows", func() bool {
		return strings.Contains(r.Info(ctx, "replication").Val(), "master_link_status:up")
	})
	url := "redis://" + sentinel.Addr + "?sentinel=m&ttl=15s"
	a, b := client(t, url), client(t, url)
	lease, err := a.Lock(ctx, "n")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *locker.Lease, 1)
	go func() {
		l, err := b.Lock(ctx, "n")
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	eventually(t, "the replica knows the lock and the waiter", func() bool {
		return r.Exists(ctx, "n", "{n}~~queue", "{n}~~waiters", "{n}~~fence").Val() == 4
	})

	eventually(t, "the sentinel knows the replica well enough", func() bool {
		return s.Do(ctx, "SENTINEL", "FAILOVER", "m").Err() == nil
	})
	eventually(t, "the old master follows the new one", func() bool {
		return strings.Contains(m.Info(ctx, "replication").Val(), "role:slave") &&
			strings.Contains(r.Info(ctx, "replication").Val(), "role:master")
	})
	if err := a.Renew(ctx, lease); err != nil {
		t.Log(err) // the connections to the old master are gone; the next renewal finds the new one
	}
	before := lease.Deadline()
	eventually(t, "the lease is renewed at the new master", func() bool { return lease.Deadline().After(before) })
	if err := a.Unlock(ctx, lease); err != nil {
		t.Fatal(err)
	}
	next := <-got
	if next == nil || next.Token() <= lease.Token() {
		t.Fatalf("%v after token %d", next, lease.Token())
	}
	if err := b.Unlock(ctx, next); err != nil {
		t.Error(err)
	}
}
