// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const consulPort = 8500

// Consul is one Consul server. Flags are written as on its command line.
func Consul(flags ...string) Spec {
	return consul(append([]string{"-server", "-bootstrap-expect=1", "-bind=127.0.0.1"}, flags...)...)
}

// ConsulServers is a cluster with an agent beside it, by which applications
// are meant to talk to it.
type ConsulServers struct {
	Servers []*Server
	Agent   *Server // in client mode: keeps nothing, forwards everything
}

// ConsulCluster starts three servers and a client agent.
func ConsulCluster(t testing.TB, flags ...string) ConsulServers {
	t.Helper()
	network := NewNetwork(t)
	join := []string{"-bind={{ GetInterfaceIP \"eth0\" }}", "-retry-interval=1s"}
	for i := range 3 {
		join = append(join, fmt.Sprint("-retry-join=consul", i+1))
	}
	var specs []Spec
	for i := range 4 {
		own := []string{"-server", "-bootstrap-expect=3"}
		if i == 3 {
			own = nil
		}
		spec := consul(append(append(own, join...), flags...)...)
		spec.Network, spec.Alias = network, fmt.Sprint("consul", i+1)
		specs = append(specs, spec)
	}
	all := StartAll(t, specs...)
	return ConsulServers{Servers: all[:3], Agent: all[3]}
}

func consul(flags ...string) Spec {
	return Spec{
		Server: "consul",
		Port:   consulPort,
		Cmd: append([]string{
			"agent", "-client=0.0.0.0", "-data-dir=/consul/data", "-log-level=warn",
			"-hcl=performance { raft_multiplier = 1 }", "-hcl=disable_update_check = true",
		}, flags...),
		Env:         map[string]string{"TMPDIR": "/consul/data"}, // for snapshots: the image that is built here has no /tmp
		Ready:       consulReady,
		EndSessions: endConsulSessions,
	}
}

// consulReady wants a leader that has confirmed itself: the bare knowledge of
// one comes before it takes writes.
func consulReady(ctx context.Context, addr string) error {
	leader, err := get(ctx, "http://"+addr+"/v1/status/leader")
	if err == nil && !strings.Contains(leader, ":") {
		err = fmt.Errorf("its leader is %s", leader)
	}
	if err != nil {
		return err
	}
	_, err = get(ctx, "http://"+addr+"/v1/session/list?consistent")
	return err
}

func endConsulSessions(t testing.TB, s *Server) {
	t.Helper()
	list, err := get(t.Context(), "http://"+s.Addr+"/v1/session/list")
	if err != nil {
		t.Fatalf("servertest: list the sessions of consul: %v", err)
	}
	var sessions []struct{ ID string }
	if err := json.Unmarshal([]byte(list), &sessions); err != nil {
		t.Fatalf("servertest: list the sessions of consul: %v", err)
	}
	for _, session := range sessions {
		if _, err := request(t.Context(), http.MethodPut, "http://"+s.Addr+"/v1/session/destroy/"+session.ID); err != nil {
			t.Fatalf("servertest: destroy a session of consul: %v", err)
		}
	}
}
