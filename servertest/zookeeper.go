// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
)

const zookeeperPort = 2181

// ZooKeeper is one ZooKeeper server. Its tick is 500 ms, so it grants session
// time-outs of 1 s to 10 s. Settings are lines of zoo.cfg, without spaces.
func ZooKeeper(settings ...string) Spec {
	return Spec{
		Server: "zookeeper",
		Port:   zookeeperPort,
		Env: map[string]string{
			"ZOO_TICK_TIME": "500", "ZOO_INIT_LIMIT": "20", "ZOO_SYNC_LIMIT": "10", "ZOO_MAX_CLIENT_CNXNS": "0",
			"ZOO_4LW_COMMANDS_WHITELIST": "*", "ZOO_ADMINSERVER_ENABLED": "false",
			"ZOO_CFG_EXTRA": strings.Join(append([]string{"forceSync=no"}, settings...), " "),
			"JVMFLAGS":      "-Xmx256m",
		},
		Ready: func(ctx context.Context, addr string) error {
			// ruok says yes before the server has found its quorum; isro does not.
			answer, err := ask(ctx, &net.Dialer{}, addr, "isro")
			if err == nil && answer != "rw" {
				err = fmt.Errorf("it answers %q to isro", answer)
			}
			return err
		},
	}
}

// ZooKeeperCluster starts three ZooKeeper servers.
func ZooKeeperCluster(t testing.TB, settings ...string) []*Server {
	t.Helper()
	return StartAll(t, ZooKeeperMembers(t, settings...)...)
}

// ZooKeeperMembers are those of a cluster, for a test that wants one of them to
// differ.
func ZooKeeperMembers(t testing.TB, settings ...string) []Spec {
	t.Helper()
	network := NewNetwork(t)
	var members []string
	for i := range 3 {
		members = append(members, fmt.Sprintf("server.%d=zookeeper%d:2888:3888;%d", i+1, i+1, zookeeperPort))
	}
	var specs []Spec
	for i := range members {
		spec := ZooKeeper(settings...)
		spec.Env["ZOO_MY_ID"] = fmt.Sprint(i + 1)
		spec.Env["ZOO_SERVERS"] = strings.Join(members, " ")
		spec.Network, spec.Alias = network, fmt.Sprint("zookeeper", i+1)
		specs = append(specs, spec)
	}
	return specs
}
