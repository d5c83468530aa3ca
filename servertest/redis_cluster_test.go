// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/servertest"
)

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	nodes := servertest.RedisCluster(t)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr}})
	t.Cleanup(func() { _ = client.Close() })
	for i := range 30 { // keys of all three nodes
		if err := client.Set(t.Context(), fmt.Sprint("key", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range nodes {
		if n, err := fresh(t, node).DBSize(t.Context()).Result(); n == 0 || err != nil {
			t.Errorf("%s holds %d keys, %v", node.Addr, n, err)
		}
	}
}

func TestRedisSentinels(t *testing.T) {
	t.Parallel()
	all := servertest.RedisWithSentinels(t)
	var addrs []string
	for _, sentinel := range all.Sentinels {
		addrs = append(addrs, sentinel.Addr)
	}
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: all.Name, SentinelAddrs: addrs})
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Set(t.Context(), "a", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := fresh(t, all.Primary).Exists(t.Context(), "a").Result(); n != 1 || err != nil {
		t.Errorf("the primary holds %d, %v", n, err)
	}
	all.Primary.Kill(t)
	eventually(t, "the replica takes over", func() error {
		if err := client.Set(t.Context(), "b", 1, 0).Err(); err != nil {
			return err
		}
		return fresh(t, all.Replica).Set(t.Context(), "c", 1, 0).Err()
	})
}

func TestRedisSentinelsCutOff(t *testing.T) {
	t.Parallel()
	all := servertest.RedisWithSentinels(t)
	all.Primary.CutOff(t)
	eventually(t, "the replica takes over", func() error { return fresh(t, all.Replica).Set(t.Context(), "c", 1, 0).Err() })
	all.Primary.Rejoin(t)
	eventually(t, "the old primary turns into a replica", func() error {
		role, err := fresh(t, all.Primary).Do(t.Context(), "role").Slice()
		if err == nil && role[0] != "slave" {
			err = fmt.Errorf("its role is %v", role[0])
		}
		return err
	})
}

func TestRedisEndSessions(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Redis())
	client := fresh(t, srv)
	conn := client.Conn() // one connection, never replaced
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	srv.EndSessions(t)
	if err := conn.Ping(t.Context()).Err(); err == nil {
		t.Error("the connection lives on")
	}
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.NewTimer(slack)
	defer deadline.Stop()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s: %v", slack, what, err)
		}
	}
}
