// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

const etcdPort = 2379

// Etcd is one etcd server. Flags are written as on its command line.
func Etcd(flags ...string) Spec {
	return Spec{
		Server: "etcd",
		Port:   etcdPort,
		Cmd: append([]string{
			"etcd", "--data-dir", "/tmp/etcd", "--unsafe-no-fsync",
			"--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", "http://{addr}",
		}, flags...),
		Ready: func(ctx context.Context, addr string) error {
			body, err := get(ctx, "http://"+addr+"/health")
			if err == nil && !strings.Contains(body, `"true"`) {
				err = fmt.Errorf("its health is %s", body)
			}
			return err
		},
		// A client's session is its lease.
		EndSessions: func(t testing.TB, s *Server) {
			leases := strings.Fields(s.Exec(t, "etcdctl", "lease", "list"))
			for _, lease := range leases {
				if len(lease) == len("694d5765fc71500b") && lease != strings.Repeat("0", len(lease)) {
					s.Exec(t, "etcdctl", "lease", "revoke", lease)
				}
			}
		},
	}
}

// EtcdCluster starts three etcd servers.
func EtcdCluster(t testing.TB, flags ...string) []*Server {
	t.Helper()
	network := NewNetwork(t)
	var names, members []string
	for i := range 3 {
		name := fmt.Sprint("etcd", i+1)
		names = append(names, name)
		members = append(members, name+"=http://"+name+":2380")
	}
	var specs []Spec
	for _, name := range names {
		spec := Etcd(append([]string{
			"--name", name, "--initial-cluster", strings.Join(members, ","),
			"--listen-peer-urls", "http://0.0.0.0:2380", "--initial-advertise-peer-urls", "http://" + name + ":2380",
		}, flags...)...)
		spec.Network, spec.Alias = network, name
		specs = append(specs, spec)
	}
	return StartAll(t, specs...)
}
