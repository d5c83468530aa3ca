// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
)

// CutOffPort drops every packet from and to a TCP port, the server's own and
// that of others: with the port that the nodes of a cluster use among
// themselves, a node is cut off from them and not from its clients. It lasts as
// long as the container, or until RejoinPort. It needs root on Linux.
func (s *Server) CutOffPort(t testing.TB, port int) {
	t.Helper()
	s.filterPort(t, "-I", port)
}

// RejoinPort ends a cut by CutOffPort.
func (s *Server) RejoinPort(t testing.TB, port int) {
	t.Helper()
	s.filterPort(t, "-D", port)
}

func (s *Server) filterPort(t testing.TB, action string, port int) {
	t.Helper()
	if why := noNamespaces(); why != "" {
		skip(t, "a packet filter in the server's network namespace "+why)
	}
	s.step(t, "packet filter", func(ctx context.Context, id string) error {
		pid, err := s.pid(ctx, id)
		if err != nil {
			return err
		}
		for _, chain := range []string{"INPUT", "OUTPUT"} {
			for _, end := range []string{"--dport", "--sport"} {
				args := []string{"-t", pid, "-n", "iptables", "-w", action, chain, "-p", "tcp", end, strconv.Itoa(port), "-j", "DROP"}
				if out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput(); err != nil {
					return fmt.Errorf("nsenter %v: %w: %s", args, err, out)
				}
			}
		}
		return nil
	})
}
