// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
)

// Pause freezes the server's processes, as SIGSTOP does: connections stay
// open, new ones are accepted, nothing is answered.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.step(t, "pause", func(ctx context.Context, id string) error {
		return freeze(ctx, func() error {
			_, err := s.engine.ContainerPause(ctx, id, client.ContainerPauseOptions{})
			return err
		})
	})
}

// freeze pauses until that succeeds: on a loaded machine not every process stops
// in the time that runc gives them, and it then thaws those that did.
func freeze(ctx context.Context, pause func() error) error {
	for {
		err := pause()
		if err == nil || !strings.Contains(err.Error(), "unable to freeze") {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// Unpause lets a paused server go on.
func (s *Server) Unpause(t testing.TB) {
	t.Helper()
	s.step(t, "unpause", func(ctx context.Context, id string) error {
		_, err := s.engine.ContainerUnpause(ctx, id, client.ContainerUnpauseOptions{})
		return err
	})
}

// Kill ends the server as kill -9 does. Its data stays; Revive starts it again.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.step(t, "kill", func(ctx context.Context, id string) error {
		if _, err := s.engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
			return err
		}
		return s.waitStopped(ctx, id)
	})
}

// Revive starts a killed server with its data, at its old address, and waits
// until it answers.
func (s *Server) Revive(t testing.TB) {
	t.Helper()
	s.step(t, "start again", s.startAgain)
	defer hangUp(s.engine)
	if err := s.waitReady(t.Context()); err != nil {
		t.Fatalf("servertest: %s after its restart: %v", s.spec.Server, err)
	}
}

// Restart stops the server in good order and starts it again with its data.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.step(t, "stop", func(ctx context.Context, id string) error {
		patience := 10
		_, err := s.engine.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: &patience})
		return err
	})
	s.Revive(t)
}

// Empty kills the server and puts one without any data in its place.
func (s *Server) Empty(t testing.TB) {
	t.Helper()
	s.remove(t)
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	if err := s.create(ctx); err != nil {
		t.Fatalf("servertest: %s: a new one without data: %v", s.spec.Server, err)
	}
	if err := s.waitReady(t.Context()); err != nil {
		t.Fatalf("servertest: %s without its data: %v", s.spec.Server, err)
	}
}

// EndSessions ends the sessions of all clients, as an administrator can.
func (s *Server) EndSessions(t testing.TB) {
	t.Helper()
	if s.spec.EndSessions == nil {
		t.Fatalf("servertest: %s gives an administrator no way to end sessions", s.spec.Server)
	}
	s.spec.EndSessions(t, s)
}

// CutOff drops every packet to and from the server, in its own network
// namespace: its clients hear nothing and neither do the other nodes of its
// cluster. Connections survive a short cut. It needs root on Linux.
func (s *Server) CutOff(t testing.TB) {
	t.Helper()
	s.iptables(t, "-I")
}

// Rejoin ends a cut.
func (s *Server) Rejoin(t testing.TB) {
	t.Helper()
	s.iptables(t, "-D")
}

func (s *Server) iptables(t testing.TB, action string) {
	t.Helper()
	if why := noNamespaces(); why != "" {
		skip(t, "a packet filter in the server's network namespace "+why)
	}
	s.step(t, "packet filter", func(ctx context.Context, id string) error {
		pid, err := s.pid(ctx, id)
		if err != nil {
			return err
		}
		for _, rule := range s.cut() {
			args := append([]string{"-t", pid, "-n", "iptables", "-w", action}, append(rule, "-j", "DROP")...)
			if out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("nsenter %v: %w: %s", args, err, out)
			}
		}
		return nil
	})
}

// pid is that of the container's first process, in the host's namespace.
func (s *Server) pid(ctx context.Context, id string) (string, error) {
	c, err := s.engine.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return "", err
	}
	return strconv.Itoa(c.Container.State.Pid), nil
}

// cut lists the rules that cut the server off. In a pod, where others live in
// the same namespace, it is what goes to and from its port.
func (s *Server) cut() [][]string {
	if s.spec.Pod == nil {
		return [][]string{{"INPUT", "!", "-i", "lo"}, {"OUTPUT", "!", "-o", "lo"}}
	}
	port := strconv.Itoa(s.spec.Port)
	return [][]string{{"INPUT", "-p", "tcp", "--dport", port}, {"OUTPUT", "-p", "tcp", "--sport", port}}
}

// noNamespaces says what is missing to enter a container's namespace.
func noNamespaces() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	for _, tool := range []string{"nsenter", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "needs " + tool
		}
	}
	return ""
}

func (s *Server) step(t testing.TB, what string, do func(context.Context, string) error) {
	t.Helper()
	defer hangUp(s.engine)
	// Not the test's context: faults are also healed in cleanups.
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	if err := do(ctx, s.Container()); err != nil {
		t.Fatalf("servertest: %s: %s: %v", s.spec.Server, what, err)
	}
}

func (s *Server) startAgain(ctx context.Context, id string) error {
	_, err := s.engine.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return err
}

func (s *Server) waitStopped(ctx context.Context, id string) error {
	wait := s.engine.ContainerWait(ctx, id, client.ContainerWaitOptions{})
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		return err
	}
}
