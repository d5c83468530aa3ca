// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/history"
)

// EtcdCluster is three etcd servers.
var EtcdCluster = Store{
	Name: "etcd-3",
	Promise: history.Promise{
		Fencing: true, Fair: true, TTL: 2 * time.Second, Reclaim: 3 * time.Second, Slack: 3 * time.Second,
		Recovery: 10 * time.Second, // an election, and a whole TTL anew for every lease
	},
	Faults: []Fault{KillLeader, CutLeader, IsolateLeader, PauseLeader, RollingRestart, PauseHolder, Partition},
	Start: func(t testing.TB) Place {
		members := servertest.EtcdCluster(t)
		return Place{
			Servers: members, Nodes: members, PeerPorts: []int{2380},
			URL:    func(addrs []string) string { return "etcd://" + strings.Join(addrs, ",") + "/stress" },
			Leader: func(t testing.TB) *servertest.Server { return etcdLeader(t, members) },
		}
	},
}

func etcdLeader(t testing.TB, members []*servertest.Server) *servertest.Server {
	t.Helper()
	return await(t, "etcd has a leader", func(ctx context.Context) *servertest.Server {
		for _, m := range members {
			client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.Addr}, Context: ctx})
			if err != nil {
				continue
			}
			status, err := client.Status(ctx, m.Addr)
			_ = client.Close()
			if err == nil && status.Leader == status.Header.MemberId {
				return m
			}
		}
		return nil
	})
}

// RedisSentinel is a Redis primary with a replica and three sentinels. What was
// not replicated is lost by a failover.
var RedisSentinel = Store{
	Name: "redis-sentinel",
	Promise: history.Promise{
		Fencing: true, Fair: true, TTL: 2 * time.Second, Reclaim: 3 * time.Second, Slack: 3 * time.Second,
		// The sentinels notice after a second, and agree; but for half a minute they
		// do not know what to do with a primary that comes back as a replica.
		Recovery: 45 * time.Second,
	},
	Start: func(t testing.TB) Place { // its faults are trials
		all := servertest.RedisWithSentinels(t, "--appendonly", "yes", "--appendfsync", "always")
		nodes := []*servertest.Server{all.Primary, all.Replica}
		leader := func(t testing.TB) *servertest.Server {
			t.Helper()
			_, port, _ := net.SplitHostPort(all.Sentinels[0].Addr)
			return await(t, "the sentinels know the primary", func(context.Context) *servertest.Server {
				answer := strings.Fields(all.Sentinels[0].Exec(t, "redis-cli", "-p", port, "sentinel", "get-master-addr-by-name", all.Name))
				i := slices.IndexFunc(nodes, func(n *servertest.Server) bool {
					return len(answer) == 2 && n.Addr == net.JoinHostPort(answer[0], answer[1])
				})
				if i < 0 {
					return nil
				}
				return nodes[i]
			})
		}
		return Place{
			Servers: all.Sentinels, Nodes: nodes, Direct: true, Leader: leader,
			URL: func(addrs []string) string { return "redis://" + strings.Join(addrs, ",") + "?sentinel=" + all.Name },
			Deafen: func(t testing.TB) func(testing.TB) {
				primary := leader(t)
				port := replicaPort(t, primary)
				primary.CutOffPort(t, port)
				return func(t testing.TB) { primary.RejoinPort(t, port) }
			},
		}
	},
}

// replicaPort is the port from which the replica follows the primary.
func replicaPort(t testing.TB, primary *servertest.Server) int {
	t.Helper()
	_, port, _ := net.SplitHostPort(primary.Addr)
	var found int
	await(t, "a replica follows the primary", func(context.Context) *servertest.Server {
		list := primary.Exec(t, "redis-cli", "-p", port, "client", "list", "type", "replica")
		if _, addr, ok := strings.Cut(list, " addr="); ok {
			addr, _, _ = strings.Cut(addr, " ")
			_, text, _ := net.SplitHostPort(addr)
			found, _ = strconv.Atoi(text)
		}
		if found == 0 {
			return nil
		}
		return primary
	})
	return found
}

// PostgresStandby is a Postgres primary and its asynchronous standby.
var PostgresStandby = Store{
	Name:        "postgres-standby",
	Promise:     Postgres.Promise,
	Faults:      []Fault{Promote},
	Connections: true,
	Start: func(t testing.TB) Place {
		pair := servertest.PostgresWithStandby(t)
		servers := []*servertest.Server{pair.Primary, pair.Standby}
		return Place{
			Servers: servers, Nodes: servers, Promote: pair.Promote,
			URL: func(addrs []string) string {
				return servertest.PostgresURL(addrs[1]+","+addrs[0]) + "&target_session_attrs=primary"
			},
		}
	},
}

// ZooKeeperCluster is three ZooKeeper servers with a tick of 500 ms.
var ZooKeeperCluster = Store{
	Name: "zookeeper-3",
	Promise: history.Promise{
		Fencing: true, Fair: true, InPassing: true, TTL: 3 * time.Second, Reclaim: 4 * time.Second, Slack: 3 * time.Second,
		Recovery: 20 * time.Second, // a lost leader is noticed after 5 s, and a new one gives every session its whole time anew
	},
	Faults: []Fault{KillLeader, CutLeader, IsolateLeader, PauseLeader, RollingRestart, PauseHolder, Partition},
	Start: func(t testing.TB) Place {
		servers := servertest.ZooKeeperCluster(t)
		return Place{
			Servers: servers, Nodes: servers, PeerPorts: []int{2888, 3888},
			URL:    func(addrs []string) string { return "zk://" + strings.Join(addrs, ",") + "/stress?tick=500ms" },
			Leader: func(t testing.TB) *servertest.Server { return zookeeperLeader(t, servers) },
		}
	},
}

func zookeeperLeader(t testing.TB, servers []*servertest.Server) *servertest.Server {
	t.Helper()
	return await(t, "zookeeper has a leader", func(ctx context.Context) *servertest.Server {
		for _, s := range servers {
			if strings.Contains(fourLetters(ctx, s.Addr, "srvr"), "Mode: leader") {
				return s
			}
		}
		return nil
	})
}

// fourLetters is a server's answer to one of ZooKeeper's commands, as far as it
// gives one.
func fourLetters(ctx context.Context, addr, command string) string {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := io.WriteString(conn, command); err != nil {
		return ""
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// ConsulCluster is three Consul servers, and an agent in client mode that all
// clients talk to.
var ConsulCluster = Store{
	Name: "consul-3",
	Promise: history.Promise{
		Fencing: true, Fair: true, InPassing: true, TTL: 10 * time.Second, Reclaim: 21 * time.Second, Slack: 3 * time.Second,
		Recovery: 60 * time.Second, // an election, and twice the TTL anew for every session
	},
	Faults: []Fault{KillLeader, CutLeader, IsolateLeader, PauseLeader, RollingRestart, PauseHolder, Partition},
	Slow:   true,
	Start: func(t testing.TB) Place {
		cluster := servertest.ConsulCluster(t)
		return Place{
			Servers: []*servertest.Server{cluster.Agent}, Nodes: cluster.Servers, PeerPorts: []int{8300, 8301},
			URL:    func(addrs []string) string { return "consul://" + addrs[0] + "/stress" },
			Leader: func(t testing.TB) *servertest.Server { return consulLeader(t, cluster.Servers) },
		}
	},
}

func consulLeader(t testing.TB, servers []*servertest.Server) *servertest.Server {
	t.Helper()
	return await(t, "consul has a leader", func(ctx context.Context) *servertest.Server {
		for _, s := range servers {
			client, err := api.NewClient(&api.Config{Address: s.Addr, HttpClient: &http.Client{Timeout: time.Second}})
			if err != nil {
				continue
			}
			// A server that is cut off goes on believing for a while: ask it for what
			// a majority must confirm.
			if _, _, err := client.Session().List((&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)); err != nil {
				continue
			}
			self, err := client.Agent().Self()
			if err != nil {
				continue
			}
			if raft, ok := self["Stats"]["raft"].(map[string]any); ok && raft["state"] == "Leader" {
				return s
			}
		}
		return nil
	})
}

// Clusters are those of make faults.
var Clusters = []Store{EtcdCluster, RedisSentinel, PostgresStandby, ZooKeeperCluster, ConsulCluster}

// await asks until there is an answer.
func await(t testing.TB, what string, ask func(ctx context.Context) *servertest.Server) *servertest.Server {
	t.Helper()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	late := time.After(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		found := ask(ctx)
		cancel()
		if found != nil {
			return found
		}
		select {
		case <-poll.C:
		case <-late:
			t.Fatalf("stress: not within a minute: %s", what)
		}
	}
}
