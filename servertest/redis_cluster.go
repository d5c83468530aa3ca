// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RedisCluster starts a Redis Cluster of three masters. Clients are sent to
// the same addresses that the servers have here.
func RedisCluster(t testing.TB, directives ...string) []*Server {
	t.Helper()
	network := NewNetwork(t)
	specs := make([]Spec, 3)
	for i := range specs {
		port := freePort(t)
		specs[i] = Redis(append([]string{
			"--port", strconv.Itoa(port), "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			// Nodes know each other by their addresses in the network, clients by this one.
			"--cluster-announce-hostname", loopback, "--cluster-preferred-endpoint-type", "hostname",
		}, directives...)...)
		specs[i].Port, specs[i].HostPort = port, port
		specs[i].Network, specs[i].Alias = network, fmt.Sprint("node", i+1)
	}
	nodes := StartAll(t, specs...)
	create := []string{"redis-cli", "--cluster", "create"}
	for _, node := range nodes {
		ip, err := node.container.ContainerIP(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		create = append(create, fmt.Sprintf("%s:%d", ip, node.spec.Port))
	}
	nodes[0].Exec(t, append(create, "--cluster-yes")...)
	for _, node := range nodes {
		node.await(t, []string{"cluster_state:ok", "cluster_known_nodes:3"}, "cluster", "info")
		node.await(t, []string{loopback}, "cluster", "slots")
	}
	return nodes
}

// RedisSentinels is a primary with one replica and three sentinels. All have
// addresses that hold for them as well as for clients. A cut-off server can
// still reach the others, though nothing can reach it.
type RedisSentinels struct {
	Name      string // what the sentinels call the primary
	Primary   *Server
	Replica   *Server
	Sentinels []*Server
}

// RedisWithSentinels starts a primary, its replica and three sentinels, which
// take a second without an answer for a death.
func RedisWithSentinels(t testing.TB, directives ...string) RedisSentinels {
	t.Helper()
	const name = "main"
	ports := make([]int, 6)
	for i := range ports {
		ports[i] = freePort(t)
	}
	// The pod is a server that nobody uses. It owns the network namespace.
	pod := Redis("--port", strconv.Itoa(ports[5]))
	pod.Port, pod.HostPort, pod.Publish = ports[5], ports[5], ports[:5]
	home := Start(t, pod)
	inPod := func(port int, spec Spec) Spec {
		spec.Cmd = append(spec.Cmd, "--port", strconv.Itoa(port))
		spec.Port, spec.Pod = port, home
		return spec
	}
	primary := strconv.Itoa(ports[0])
	both := append([]string{"--repl-diskless-sync-delay", "0"}, directives...)
	pair := StartAll(t,
		inPod(ports[0], Redis(both...)),
		inPod(ports[1], Redis(append(both, "--replicaof", loopback, primary)...)),
	)
	// A sentinel that starts before the replica is known asks again 10 s later.
	pair[0].await(t, []string{"connected_slaves:1", "state=online"}, "info", "replication")
	var specs []Spec
	for _, port := range ports[2:5] {
		spec := Redis()
		spec.Cmd = []string{"redis-server", "/data/sentinel.conf", "--sentinel", "--protected-mode", "no"}
		spec.Files = map[string]string{"/data/sentinel.conf": strings.Join([]string{
			fmt.Sprintf("sentinel monitor %s %s %s 2", name, loopback, primary),
			"sentinel down-after-milliseconds " + name + " 1000",
			"sentinel failover-timeout " + name + " 5000",
			"",
		}, "\n")}
		specs = append(specs, inPod(port, spec))
	}
	all := RedisSentinels{Name: name, Primary: pair[0], Replica: pair[1], Sentinels: StartAll(t, specs...)}
	for _, sentinel := range all.Sentinels {
		sentinel.await(t, []string{"num-slaves\n1\n", "num-other-sentinels\n2\n", "flags\nmaster\n"}, "sentinel", "master", name)
	}
	return all
}

// await asks a Redis server until its answer holds all of the given parts.
func (s *Server) await(t testing.TB, parts []string, command ...string) {
	t.Helper()
	deadline := time.NewTimer(readyTimeout)
	defer deadline.Stop()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		answer := strings.ReplaceAll(s.Exec(t, append([]string{"redis-cli", "-p", strconv.Itoa(s.spec.Port)}, command...)...), "\r", "")
		missing := ""
		for _, part := range parts {
			if !strings.Contains(answer, part) {
				missing = part
			}
		}
		if missing == "" {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("servertest: %v of redis at %s never held %q:\n%s", command, s.Addr, missing, answer)
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}
