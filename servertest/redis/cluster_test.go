// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// startCluster starts three masters. Nodes know each other by the addresses of
// their containers; clients are told the host's.
func startCluster(t testing.TB) []*servertest.Server {
	t.Helper()
	const slots = 16384
	ctx := bounded(t)
	var nodes []*servertest.Server
	for i := range 3 {
		port, err := servertest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		spec := servertest.Redis("--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-announce-hostname", "127.0.0.1", "--cluster-preferred-endpoint-type", "hostname",
			"--cluster-announce-port", fmt.Sprint(port), "--cluster-announce-bus-port", "16379")
		spec.HostPort = port
		s := servertest.Start(t, spec)
		nodes = append(nodes, s)
		c := raw(t, s)
		if err := c.ClusterAddSlotsRange(ctx, i*slots/3, (i+1)*slots/3-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := raw(t, nodes[0]).ClusterMeet(ctx, inside(t, s), "6379").Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range nodes {
		c := raw(t, s)
		eventually(t, "the cluster is up", func() bool {
			info := c.ClusterInfo(ctx).Val()
			shards, err := c.ClusterShards(ctx).Result()
			return strings.Contains(info, "cluster_state:ok") && err == nil && len(shards) == 3
		})
	}
	return nodes
}

// inside returns the address that other containers have for the server.
func inside(t testing.TB, s *servertest.Server) string {
	ip, _, _ := strings.Cut(strings.TrimSpace(s.Exec(t, "hostname", "-i")), " ")
	return ip
}

func clusterURL(nodes []*servertest.Server) string {
	var hosts []string
	for _, s := range nodes {
		hosts = append(hosts, s.Addr)
	}
	return "redis://" + strings.Join(hosts, ",") + "?cluster=true"
}

// All keys of a lock are in one slot, whatever braces its name has, and a
// hand-over between clients takes one subscription per master in use.
func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	a, b := open(t, clusterURL(nodes)), open(t, clusterURL(nodes))
	names := []string{"n", "{a}b", "a}b", "{}x", "a{b", "}{", "{{a}}", "x{a}{b}"}
	for i := range 20 {
		names = append(names, fmt.Sprint("name", i))
	}
	groups := map[any]bool{}
	for _, name := range names {
		g := lock(t, a, request(name))
		groups[g.Group] = true
		w1, w2 := queue(t, b, request(name)), queue(t, b, request(name))
		start := time.Now()
		unlock(t, a, g)
		g2 := w1.Granted(t, 10*time.Second)
		t.Logf("%s: handed over in %v", name, time.Since(start))
		if g2.Token <= g.Token {
			t.Errorf("%s: token %d after %d", name, g2.Token, g.Token)
		}
		if !w2.Waits() {
			t.Errorf("%s: two were granted", name)
		}
		unlock(t, b, g2)
		g = w2.Granted(t, 10*time.Second)
		if r := b.Renew(bounded(t), []*backend.Grant{g}); r[0].Err != nil {
			t.Errorf("%s: renew: %v", name, r[0].Err)
		}
		unlock(t, b, g)
	}
	if len(groups) != 3 {
		t.Errorf("%d groups for 3 masters: %v", len(groups), groups)
	}

	var held []*backend.Grant
	var waiting []*backendtest.Call
	for _, name := range names {
		held = append(held, lock(t, a, request(name)))
		waiting = append(waiting, queue(t, b, request(name)))
	}
	for _, s := range nodes {
		if n := strings.Count(raw(t, s).ClientList(bounded(t)).Val(), " flags=P "); n != 1 {
			t.Errorf("%d connections with subscriptions; one client waits", n)
		}
	}
	for i, g := range held {
		unlock(t, a, g)
		unlock(t, b, waiting[i].Granted(t, 10*time.Second))
	}
	for _, s := range nodes {
		c := raw(t, s)
		eventually(t, "no channel without a waiter", func() bool { return len(c.PubSubShardChannels(bounded(t), "*").Val()) == 0 })
	}
}

// R7: while a slot moves, and after it has moved, locks in it are renewed,
// released and handed over.
func TestHazard_R7_SlotMoves(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	a, b := open(t, clusterURL(nodes)), open(t, clusterURL(nodes))
	admin := driver.NewClusterClient(&driver.ClusterOptions{Addrs: []string{nodes[0].Addr}, Protocol: 2})
	defer admin.Close()
	ctx := bounded(t)

	const name = "n"
	slot := admin.ClusterKeySlot(ctx, name).Val()
	from, err := admin.MasterForKey(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	var toNode *servertest.Server
	for _, s := range nodes {
		if s.Addr != from.Options().Addr {
			toNode = s
		}
	}
	to := raw(t, toNode)
	fromID, toID := from.ClusterMyID(ctx).Val(), to.ClusterMyID(ctx).Val()
	do := func(c *driver.Client, args ...any) {
		t.Helper()
		if err := c.Do(ctx, args...).Err(); err != nil {
			t.Fatal(args, err)
		}
	}

	req := func() backend.Request { r := request(name); r.TTL = 6 * time.Second; return r } // claim 2 s
	alone := lock(t, a, request("{n}alone"))
	held := lock(t, a, req())
	waits := queue(t, b, req())
	patient := func() backend.Request { r := request("{n}patient"); r.TTL = 10 * time.Minute; return r } // re-runs each 67 s
	heldLong := lock(t, a, patient())
	waitsLong := queue(t, b, patient())
	eventually(t, "pushes come from the old master", func() bool {
		return len(from.PubSubShardChannels(ctx, "*").Val()) == 2
	})
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", toID)

	for i, r := range a.Renew(ctx, []*backend.Grant{held, alone}) {
		if r.Err != nil {
			t.Errorf("renewal %d while the slot moves: %v", i, r.Err)
		}
	}
	unlock(t, a, alone)
	if r := a.Renew(ctx, []*backend.Grant{alone}); !errors.Is(r[0].Err, backend.ErrLost) {
		t.Errorf("renewal of what was released: %v", r[0].Err)
	}

	keys := from.ClusterGetKeysInSlot(ctx, int(slot), 100).Val()
	if len(keys) < 4 {
		t.Errorf("keys in the slot: %q", keys)
	}
	migrate := []any{"MIGRATE", inside(t, toNode), 6379, "", 0, 5000, "KEYS"}
	for _, k := range keys {
		migrate = append(migrate, k)
	}
	do(from, migrate...)
	do(to, "CLUSTER", "SETSLOT", slot, "NODE", toID)
	do(from, "CLUSTER", "SETSLOT", slot, "NODE", toID)

	eventually(t, "pushes come from the new master", func() bool {
		return len(to.PubSubShardChannels(ctx, "{n}patient*").Val()) == 1
	})
	unlock(t, a, held)
	got := waits.Granted(t, 10*time.Second)
	if got.Token <= held.Token {
		t.Errorf("token %d after %d", got.Token, held.Token)
	}
	unlock(t, b, got)
	unlock(t, a, heldLong)
	unlock(t, b, waitsLong.Granted(t, 10*time.Second))
}
