// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest/history"
	"github.com/golocker/locker/servertest/stress"
)

// A Peer is another library, with what it is known for.
type Peer struct {
	Name    string
	Known   string // what goes wrong
	Store   stress.Store
	Fault   stress.Fault
	Checker string // that finds it
	Long    bool   // in leases that are held for long

	open func(ctx context.Context, addr string, ttl time.Duration) (library, error)
}

// Peers are the libraries, once for each thing that they are known for.
var Peers = []Peer{
	{
		"redsync", "without a token, what a holder writes that was paused past its TTL is not refused",
		leased(stress.Redis, 2*time.Second), stress.PauseHolder, "register", false, openRedsync,
	},
	{
		"redislock", "who counts from an answer that was late believes for too long",
		leased(stress.Redis, 2*time.Second), stress.LateReply, "overlap", true, openRedislock,
	},
	{
		"concurrency.Mutex, one session", "two goroutines with one session both hold",
		endless(stress.Etcd, 2*time.Second), stress.KillWaiter, "overlap", false, openEtcdSession,
	},
	{
		"concurrency.Mutex, a session each", "its session ends a TTL after the last answer: later than at the server",
		endless(stress.Etcd, 12*time.Second), stress.LateReply, "overlap", true, openEtcdSessions,
	},
	{
		"zk.Lock", "a holder that is cut off is never told",
		endless(stress.ZooKeeper, 3*time.Second), stress.Partition, "overlap", true, openZooKeeper,
	},
	{
		"zk.Lock, connection lost", "a Lock that failed leaves its node, and everybody waits for that",
		endless(stress.ZooKeeper, 3*time.Second), stress.Reset, "liveness", false, openZooKeeper,
	},
	{
		"api.Lock", "a holder whose packets vanish is not told",
		endless(stress.Consul, 10*time.Second), stress.CutGranted, "overlap", true, openConsul,
	},
	{
		"pg_advisory_lock, one connection", "a session has a lock as often as it asks for it: two goroutines both hold",
		endless(stress.Postgres, 2*time.Second), stress.KillWaiter, "overlap", false, openPostgresConn,
	},
	{
		"pg_advisory_lock, a connection each", "a restart of the server frees the lock, and its holder is not told",
		endless(stress.Postgres, 2*time.Second), stress.KillServer, "overlap", true, openPostgresConns,
	},
	{
		"pg_advisory_lock, machine gone", "the server does not miss a holder that has vanished, and keeps its lock",
		endless(stress.Postgres, 2*time.Second), stress.Vanish, "liveness", true, openPostgresConns,
	},
}

// leased is a store as a library sees it whose locks end after a TTL.
func leased(s stress.Store, ttl time.Duration) stress.Store {
	s.Promise = history.Promise{TTL: ttl, Reclaim: s.Promise.Reclaim - s.Promise.TTL + ttl, Slack: s.Promise.Slack}
	return s
}

// endless is a store as a library sees it that tells its holders no deadline.
func endless(s stress.Store, ttl time.Duration) stress.Store {
	s = leased(s, ttl)
	s.Rhythm, s.Promise.TTL = ttl, 0
	return s
}

// config is that of a run of p. The URL of its store says which library it is.
func (p Peer) config(index int) stress.Config {
	s := p.Store
	s.URL = func(addr string) string { return fmt.Sprintf("%d://%s", index, addr) }
	return stress.Config{Store: s, Faults: []stress.Fault{p.Fault}, Long: p.Long}
}

// Open opens the library that a URL of config names.
func Open(ctx context.Context, url string, ttl time.Duration, _ func(string)) (locker.Locker, error) {
	index, addr, _ := strings.Cut(url, "://")
	var i int
	if _, err := fmt.Sscan(index, &i); err != nil || i < 0 || i >= len(Peers) {
		return nil, fmt.Errorf("peers: no library %q", index)
	}
	l, err := Peers[i].open(ctx, addr, ttl)
	if err != nil {
		return nil, err
	}
	return newPeer(l, ttl), nil
}
