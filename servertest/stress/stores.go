// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"slices"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/history"
)

// A Store is what a run is about.
type Store struct {
	Name    string
	Spec    func(t testing.TB) servertest.Spec // of a store that is one server,
	URL     func(addr string) string           // and how a client finds it
	Start   func(t testing.TB) Place           // of any other
	Promise history.Promise
	Rhythm  time.Duration // the clients' TTL where leases do not expire
	Faults  []Fault       // that it can meet
	More    []Fault       // that it meets as well where there is the time

	// Connections says that locks end with a connection.
	Connections bool
	// Slow says that its TTL is too long for every fault to come in a short run.
	Slow bool
}

// A Place is where a store runs.
type Place struct {
	Servers []*servertest.Server
	// URL is what a client opens, given the address of each server.
	URL func(addrs []string) string
	// Nodes, if set, are what the faults of a cluster meet, and Leader is the one
	// that takes writes now.
	Nodes     []*servertest.Server
	Leader    func(t testing.TB) *servertest.Server
	PeerPorts []int              // by which the nodes talk to each other
	Promote   func(t testing.TB) // makes the second node the leader
	// Deafen keeps from the replica what the leader tells it, until rejoin.
	Deafen func(t testing.TB) (rejoin func(testing.TB))
	// Direct has clients talk to the servers themselves: nothing can be wrong
	// with their network alone.
	Direct bool
}

var (
	processFaults = []Fault{PauseHolder, PauseWaiter, KillHolder, KillWaiter}
	networkFaults = []Fault{Partition, LoseRequests, LoseReplies, LateReply, Vanish, HoldRequest, Reset, Refuse, Delay}
	aimedFaults   = []Fault{CutGranted, LateGrant}
	serverFaults  = []Fault{PauseServer, KillServer, RestartServer}
)

// Redis keeps its data through a restart.
var Redis = Store{
	Name:    "redis",
	Promise: history.Promise{Fencing: true, Fair: true, TTL: 2 * time.Second, Reclaim: 3 * time.Second, Slack: 3 * time.Second},
	Faults:  slices.Concat(processFaults, networkFaults, serverFaults),
	More:    aimedFaults,
	Spec: func(testing.TB) servertest.Spec {
		return servertest.Redis("--appendonly", "yes", "--appendfsync", "always")
	},
	URL: func(addr string) string { return "redis://" + addr },
}

// Etcd is one etcd server.
var Etcd = Store{
	Name:    "etcd",
	Promise: history.Promise{Fencing: true, Fair: true, TTL: 2 * time.Second, Reclaim: 3 * time.Second, Slack: 3 * time.Second},
	Faults:  slices.Concat(processFaults, networkFaults, serverFaults),
	More:    aimedFaults,
	Spec:    func(testing.TB) servertest.Spec { return servertest.Etcd() },
	URL:     func(addr string) string { return "etcd://" + addr + "/stress" },
}

// Postgres is one Postgres server. Its locks end with a connection. Nobody can tell
// when a statement that waits has reached the server.
var Postgres = Store{
	Name:        "postgres",
	Promise:     history.Promise{Fencing: true, Fair: true, Alone: true, Grace: true, Entry: 500 * time.Millisecond, Hearing: 100 * time.Millisecond, TTL: 2 * time.Second, Reclaim: 2 * time.Second, Slack: 3 * time.Second},
	Faults:      slices.Concat(processFaults, networkFaults, serverFaults),
	More:        aimedFaults,
	Connections: true,
	Spec:        func(testing.TB) servertest.Spec { return servertest.Postgres() },
	URL:         servertest.PostgresURL,
}

// ZooKeeper is one ZooKeeper server with a tick of 500 ms.
var ZooKeeper = Store{
	Name:    "zookeeper",
	Promise: history.Promise{Fencing: true, Fair: true, InPassing: true, TTL: 3 * time.Second, Reclaim: 4 * time.Second, Slack: 3 * time.Second},
	Faults:  slices.Concat(processFaults, networkFaults, serverFaults),
	More:    aimedFaults,
	Spec:    func(testing.TB) servertest.Spec { return servertest.ZooKeeper() },
	URL:     func(addr string) string { return "zk://" + addr + "/stress?tick=500ms" },
}

// Consul is one Consul server. Its shortest TTL is long.
var Consul = Store{
	Name:    "consul",
	Promise: history.Promise{Fencing: true, Fair: true, InPassing: true, TTL: 10 * time.Second, Reclaim: 21 * time.Second, Slack: 3 * time.Second},
	Faults:  slices.Concat(processFaults, networkFaults, serverFaults),
	More:    aimedFaults,
	Slow:    true,
	Spec:    func(testing.TB) servertest.Spec { return servertest.Consul() },
	URL:     func(addr string) string { return "consul://" + addr + "/stress" },
}

// File is a directory of lock files, for the processes of one machine. Its leases
// do not expire.
var File = Store{
	Name:    "file",
	Promise: history.Promise{Fencing: true, Reclaim: 2 * time.Second, Slack: 5 * time.Second},
	Rhythm:  2 * time.Second,
	Faults:  processFaults,
	Start: func(t testing.TB) Place {
		url := "file://" + t.TempDir()
		return Place{URL: func([]string) string { return url }}
	},
}

// Stores are all that are run in make test.
var Stores = []Store{Redis, Etcd, Postgres, ZooKeeper, Consul, File}

// start starts the store.
func (s Store) start(t testing.TB) Place {
	t.Helper()
	if s.Start != nil {
		return s.Start(t)
	}
	return Place{
		Servers: []*servertest.Server{servertest.Start(t, s.Spec(t))},
		URL:     func(addrs []string) string { return s.URL(addrs[0]) },
	}
}
