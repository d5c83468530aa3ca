// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	consul "github.com/hashicorp/consul/api"
	"github.com/jackc/pgx/v5"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.Postgres("max_connections=300"))
	px := proxy.Start(t, srv.Addr, proxy.Postgres)
	conn := newPostgres(t, px.Addr())
	before := px.Requests()
	var limit string
	if err := conn.QueryRow(t.Context(), "SHOW max_connections").Scan(&limit); err != nil || limit != "300" {
		t.Fatalf("max_connections = %s, %v", limit, err)
	}
	if got := px.Requests() - before; got != 1 {
		t.Errorf("counted %d statements, want 1", got)
	}
	px.Reset()
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("a reset connection answers")
	}
}

func TestPostgresKeepsData(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Postgres())
	conn := newPostgres(t, srv.Addr)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE a (); SELECT 1"); err != nil {
		t.Fatal(err)
	}
	srv.EndSessions(t)
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("an ended session answers")
	}
	srv.Kill(t)
	srv.Revive(t)
	if _, err := newPostgres(t, srv.Addr).Exec(t.Context(), "TABLE a"); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	srv.Empty(t)
	if _, err := newPostgres(t, srv.Addr).Exec(t.Context(), "TABLE a"); err == nil {
		t.Error("the table is there after the loss of all data")
	}
}

func TestPostgresWithStandby(t *testing.T) {
	t.Parallel()
	pair := servertest.PostgresWithStandby(t)
	if _, err := newPostgres(t, pair.Primary.Addr).Exec(t.Context(), "CREATE TABLE a ()"); err != nil {
		t.Fatal(err)
	}
	standby := newPostgres(t, pair.Standby.Addr)
	eventually(t, "the table arrives", func() error { _, err := standby.Exec(t.Context(), "TABLE a"); return err })
	pair.Primary.Kill(t)
	pair.Promote(t)
	if _, err := standby.Exec(t.Context(), "CREATE TABLE b ()"); err != nil {
		t.Errorf("after the promotion: %v", err)
	}
}

func TestEtcd(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.Etcd())
	px := proxy.Start(t, srv.Addr, proxy.GRPC)
	client := newEtcd(t, px.Addr())
	if _, err := client.Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	before := px.Requests()
	for range 3 {
		if _, err := client.Get(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := px.Requests() - before; got != 3 {
		t.Errorf("counted %d requests, want 3", got)
	}
}

func TestEtcdKeepsData(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Etcd())
	client := newEtcd(t, srv.Addr)
	lease, err := client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	srv.EndSessions(t)
	if left, err := client.TimeToLive(t.Context(), lease.ID); err != nil || left.TTL > 0 {
		t.Errorf("the lease has %d s left, %v", left.TTL, err)
	}
	if _, err := client.Put(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	srv.Kill(t)
	srv.Revive(t)
	if got, err := newEtcd(t, srv.Addr).Get(t.Context(), "a"); err != nil || got.Count != 1 {
		t.Errorf("after a kill: %v, %v", got, err)
	}
	srv.Empty(t)
	if got, err := newEtcd(t, srv.Addr).Get(t.Context(), "a"); err != nil || got.Count != 0 {
		t.Errorf("after the loss of all data: %v, %v", got, err)
	}
}

func TestEtcdCluster(t *testing.T) {
	t.Parallel()
	nodes := servertest.EtcdCluster(t)
	client := newEtcd(t, nodes[0].Addr, nodes[1].Addr, nodes[2].Addr)
	if _, err := client.Put(t.Context(), "a", "1"); err != nil {
		t.Fatal(err)
	}
	nodes[0].CutOff(t)
	survivors := newEtcd(t, nodes[1].Addr, nodes[2].Addr)
	eventually(t, "two of three go on", func() error { _, err := survivors.Put(t.Context(), "a", "2"); return err })
}

func TestConsul(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.Consul())
	px := proxy.Start(t, srv.Addr, proxy.HTTP)
	client := newConsul(t, px.Addr())
	for range 3 {
		if _, err := client.KV().Put(&consul.KVPair{Key: "a", Value: []byte("1")}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := px.Requests(); got != 3 {
		t.Errorf("counted %d requests, want 3", got)
	}
}

func TestConsulKeepsData(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.Consul())
	client := newConsul(t, srv.Addr)
	session, _, err := client.Session().CreateNoChecks(&consul.SessionEntry{TTL: "60s"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv.EndSessions(t)
	if entry, _, err := client.Session().Info(session, nil); entry != nil || err != nil {
		t.Errorf("the session is %v, %v", entry, err)
	}
	if _, err := client.KV().Put(&consul.KVPair{Key: "a"}, nil); err != nil {
		t.Fatal(err)
	}
	srv.Kill(t)
	srv.Revive(t)
	if pair, _, err := newConsul(t, srv.Addr).KV().Get("a", nil); pair == nil || err != nil {
		t.Errorf("after a kill: %v, %v", pair, err)
	}
	srv.Empty(t)
	if pair, _, err := newConsul(t, srv.Addr).KV().Get("a", nil); pair != nil || err != nil {
		t.Errorf("after the loss of all data: %v, %v", pair, err)
	}
}

func TestConsulCluster(t *testing.T) {
	t.Parallel()
	all := servertest.ConsulCluster(t)
	client := newConsul(t, all.Agent.Addr)
	peers, err := client.Status().Peers()
	if err != nil || len(peers) != 3 {
		t.Fatalf("peers %v, %v", peers, err)
	}
	all.Servers[0].Kill(t)
	eventually(t, "two of three go on", func() error {
		_, err := client.KV().Put(&consul.KVPair{Key: "a"}, nil)
		return err
	})
}

func TestZooKeeper(t *testing.T) {
	t.Parallel()
	srv := servertest.Shared(t, servertest.ZooKeeper())
	px := proxy.Start(t, srv.Addr, proxy.ZooKeeper)
	if _, _, err := newZooKeeper(t, px.Addr()).Get("/"); err != nil {
		t.Fatal(err)
	}
	if px.Requests() < 2 { // the session and the question
		t.Errorf("counted %d requests", px.Requests())
	}
}

func TestZooKeeperKeepsData(t *testing.T) {
	t.Parallel()
	srv := servertest.Start(t, servertest.ZooKeeper())
	if _, err := newZooKeeper(t, srv.Addr).Create("/a", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	srv.Kill(t)
	srv.Revive(t)
	if found, _, err := newZooKeeper(t, srv.Addr).Exists("/a"); !found || err != nil {
		t.Errorf("after a kill: %t, %v", found, err)
	}
	srv.Empty(t)
	if found, _, err := newZooKeeper(t, srv.Addr).Exists("/a"); found || err != nil {
		t.Errorf("after the loss of all data: %t, %v", found, err)
	}
}

func TestZooKeeperCluster(t *testing.T) {
	t.Parallel()
	nodes := servertest.ZooKeeperCluster(t)
	if _, err := newZooKeeper(t, nodes[0].Addr).Create("/a", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	nodes[0].Kill(t)
	eventually(t, "two of three go on", func() error {
		_, err := newZooKeeper(t, nodes[1].Addr).Set("/a", []byte("b"), -1)
		return err
	})
}

func newPostgres(t *testing.T, addr string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), servertest.PostgresURL(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func newEtcd(t *testing.T, addrs ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: addrs, DialTimeout: slack})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newConsul(t *testing.T, addr string) *consul.Client {
	t.Helper()
	config := consul.DefaultNonPooledConfig()
	config.Address = addr
	client, err := consul.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func newZooKeeper(t *testing.T, addr string) *zk.Conn {
	t.Helper()
	conn, events, err := zk.Connect([]string{addr}, 10*time.Second, zk.WithLogInfo(false), zk.WithLogger(quiet{}),
		zk.WithDialer(func(network, address string, timeout time.Duration) (net.Conn, error) {
			return net.DialTimeout(network, address, timeout)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	for event := range events {
		if event.State == zk.StateHasSession {
			return conn
		}
	}
	t.Fatal(errors.New("the client gave up"))
	return nil
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
