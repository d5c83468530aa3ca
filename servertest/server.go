// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"

	"github.com/golocker/locker/servertest/images"
)

const (
	loopback = "127.0.0.1"
	// readyTimeout is generous: the slowest server takes 4 s on a quiet machine
	// and was seen to take 10 s on a loaded one.
	readyTimeout = 2 * time.Minute
	stepTimeout  = time.Minute
)

// A Spec says what runs in a container.
type Spec struct {
	// Server names the image: redis, postgres, etcd, consul or zookeeper.
	Server string
	// Entrypoint replaces the image's, if set. In Cmd, {addr} stands for the
	// address that the host will reach the server at.
	Entrypoint []string
	Cmd        []string
	Env        map[string]string
	// Files are copied into the container before its first start: path → content.
	Files map[string]string
	// Port is the container's port that clients talk to.
	Port int
	// HostPort is the port of 127.0.0.1 that leads to Port; 0 picks a free one.
	HostPort int
	// Network and Alias put the server into a cluster's network.
	Network *testcontainers.DockerNetwork
	Alias   string
	// Publish lists further ports that have the same number on both sides.
	Publish []int
	// Pod lends the server its network namespace, which has published Port, so
	// that both sides reach it as 127.0.0.1:Port.
	Pod *Server
	// Ready reports whether the server answers its own protocol at addr.
	Ready func(ctx context.Context, addr string) error
	// EndSessions ends all sessions of clients, as an administrator can.
	EndSessions func(t testing.TB, s *Server)
}

// A Server runs in a container. Its methods end the test if they fail. They
// may be called from several goroutines, but one fault at a time makes sense.
type Server struct {
	// Addr is the host's address of the server, host:port. It never changes.
	Addr string

	spec      Spec
	mu        sync.Mutex // guards container, which Empty replaces, and clock
	container *testcontainers.DockerContainer
	clock     time.Duration // by which MoveClock has moved it
	engine    *testcontainers.DockerClient
}

// Start runs a server of the test's own and waits until it answers. It is
// removed when the test ends.
func Start(t testing.TB, spec Spec) *Server {
	t.Helper()
	return StartAll(t, spec)[0]
}

// StartAll starts several servers at once, as the nodes of a cluster have to.
func StartAll(t testing.TB, specs ...Spec) []*Server {
	t.Helper()
	needDocker(t)
	defer takeTurn()()
	servers, errs := make([]*Server, len(specs)), make([]error, len(specs))
	var group sync.WaitGroup
	for i, spec := range specs {
		group.Go(func() { servers[i], errs[i] = start(t.Context(), spec) })
	}
	group.Wait()
	for i, s := range servers {
		if s != nil {
			t.Cleanup(func() { s.cleanUp(t) })
		}
		if errs[i] != nil {
			t.Errorf("servertest: start %s: %v", specs[i].Server, errs[i])
		}
	}
	if errors.Join(errs...) != nil {
		t.FailNow()
	}
	return servers
}

// Shared returns the test binary's one server of this kind: specs that are
// equal in what they run get the same one. Tests that use it must not break it.
func Shared(t testing.TB, spec Spec) *Server {
	t.Helper()
	needDocker(t)
	key := fmt.Sprint(spec.Server, spec.Cmd, spec.Env, spec.Files)
	entry, _ := shared.LoadOrStore(key, sync.OnceValues(func() (*Server, error) {
		defer takeTurn()()
		// Not the context of the test that happens to come first.
		return start(context.Background(), spec)
	}))
	s, err := entry.(func() (*Server, error))()
	if err != nil {
		t.Fatalf("servertest: start %s: %v", spec.Server, err)
	}
	return s
}

var shared sync.Map // what is run → sync.OnceValues of the server

// turns are for those that start servers, which is the heaviest of what a test
// does: all of a package at once would keep those that run from being served.
var turns = make(chan struct{}, max(2, runtime.NumCPU()))

// takeTurn returns when it is the caller's turn, which ends with done.
func takeTurn() (done func()) {
	turns <- struct{}{}
	return func() { <-turns }
}

// NewNetwork makes a network for the nodes of a cluster, for the test's life.
func NewNetwork(t testing.TB) *testcontainers.DockerNetwork {
	t.Helper()
	needDocker(t)
	if err := startReaper(); err != nil {
		t.Fatal(err)
	}
	n, err := tcnetwork.New(t.Context(), tcnetwork.WithLabels(map[string]string{runLabel: run}))
	if err != nil {
		t.Fatalf("servertest: make a network: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Remove(context.Background()); err != nil {
			t.Errorf("servertest: remove the network: %v", err)
		}
	})
	return n
}

// Container is the engine's name of the present container.
func (s *Server) Container() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.container.GetContainerID()
}

// Exec runs a command in the container and returns what it printed. A command
// that ends with an error ends the test.
func (s *Server) Exec(t testing.TB, cmd ...string) string {
	t.Helper()
	docker := exec.CommandContext(t.Context(), "docker", append([]string{"exec", s.Container()}, cmd...)...)
	out, err := docker.CombinedOutput()
	if err != nil {
		t.Fatalf("servertest: %s: run %q: %v: %s", s.spec.Server, cmd, err, out)
	}
	return string(out)
}

// Logs returns all that the present container has written.
func (s *Server) Logs(t testing.TB) string {
	t.Helper()
	text, err := s.logs(t.Context())
	if err != nil {
		t.Fatalf("servertest: %s: logs: %v", s.spec.Server, err)
	}
	return text
}

// start returns a server with an error if its container has to be removed.
func start(ctx context.Context, spec Spec) (*Server, error) {
	if err := startReaper(); err != nil {
		return nil, err
	}
	engine, err := newEngine()
	if err != nil {
		return nil, err
	}
	defer hangUp(engine)
	s := &Server{spec: spec, engine: engine}
	if spec.Pod != nil {
		s.spec.HostPort = spec.Port
	}
	if s.spec.HostPort == 0 {
		if s.spec.HostPort, err = FreePort(); err != nil {
			return nil, err
		}
	}
	s.Addr = net.JoinHostPort(loopback, strconv.Itoa(s.spec.HostPort))
	if err := s.create(ctx); err != nil {
		if s.container == nil {
			return nil, err
		}
		return s, fmt.Errorf("%w\n%s", err, s.tail())
	}
	return s, s.waitReady(ctx)
}

// newEngine is a client for one server alone: hangUp also ends a request that
// has just taken up an idle connection, which must not be another server's.
func newEngine() (*testcontainers.DockerClient, error) {
	return testcontainers.NewDockerClientWithOpts(context.Background())
}

// hangUp closes the idle connections to the engine, which a leak detector would
// find at the end of the tests. The client stays usable.
func hangUp(engine *testcontainers.DockerClient) { _ = engine.Close() }

func (s *Server) create(ctx context.Context) error {
	image, err := images.Find(ctx, s.spec.Server)
	if err != nil {
		return err
	}
	options := []testcontainers.ContainerCustomizer{
		testcontainers.WithLabels(map[string]string{runLabel: run}),
		testcontainers.WithCmd(s.command()...),
		testcontainers.WithEnv(s.spec.Env),
		testcontainers.WithHostConfigModifier(s.publish),
	}
	if s.spec.Pod == nil {
		options = append(options, testcontainers.WithExposedPorts(s.exposed()...))
	}
	if s.spec.Entrypoint != nil {
		options = append(options, testcontainers.WithEntrypoint(s.spec.Entrypoint...))
	}
	for path, content := range s.spec.Files {
		options = append(options, testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader: strings.NewReader(content), ContainerFilePath: path, FileMode: 0o644,
		}))
	}
	if s.spec.Network != nil {
		options = append(options, tcnetwork.WithNetwork([]string{s.spec.Alias}, s.spec.Network))
	}
	c, err := testcontainers.Run(ctx, image, options...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c != nil {
		s.container, s.clock = c, 0 // even a failed one: it is to be removed
	}
	return err
}

func (s *Server) command() []string {
	var cmd []string
	for _, word := range s.spec.Cmd {
		cmd = append(cmd, strings.ReplaceAll(word, "{addr}", s.Addr))
	}
	return cmd
}

func (s *Server) exposed() []string {
	var all []string
	for _, port := range append([]int{s.spec.Port}, s.spec.Publish...) {
		all = append(all, fmt.Sprintf("%d/tcp", port))
	}
	return all
}

// publish gives the ports fixed numbers: one that the engine picks is another
// one after each restart.
func (s *Server) publish(host *container.HostConfig) {
	if s.spec.Pod != nil {
		host.NetworkMode = container.NetworkMode("container:" + s.spec.Pod.Container())
		return
	}
	host.PortBindings = network.PortMap{}
	for i, port := range s.exposed() {
		outside := s.spec.HostPort
		if i > 0 {
			outside = s.spec.Publish[i-1]
		}
		host.PortBindings[network.MustParsePort(port)] = []network.PortBinding{{
			HostIP: netip.MustParseAddr(loopback), HostPort: strconv.Itoa(outside),
		}}
	}
}

// waitReady asks the server itself: the engine accepts connections to a port
// that nobody listens on yet.
func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		state, stateErr := s.engine.ContainerInspect(ctx, s.Container(), client.ContainerInspectOptions{})
		if stateErr == nil && !state.Container.State.Running {
			return fmt.Errorf("it ended with code %d: %s", state.Container.State.ExitCode, s.tail())
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w: last answer: %w\n%s", ctx.Err(), err, s.tail())
		}
	}
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.spec.Ready(ctx, s.Addr)
}

func (s *Server) logs(ctx context.Context) (string, error) {
	s.mu.Lock()
	c := s.container
	s.mu.Unlock()
	stream, err := c.Logs(ctx)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(stream)
	return string(text), errors.Join(err, stream.Close())
}

// tail is for messages: it comes with an error already, and has none of its own.
func (s *Server) tail() string {
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	text, err := s.logs(ctx)
	if err != nil {
		return fmt.Sprintf("(no logs: %v)", err)
	}
	const lines = 40
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (s *Server) cleanUp(t testing.TB) {
	if t.Failed() {
		t.Logf("servertest: last lines of %s at %s:\n%s", s.spec.Server, s.Addr, s.tail())
	}
	s.remove(t)
}

func (s *Server) remove(t testing.TB) {
	defer hangUp(s.engine)
	// The test's own context has ended before its cleanup runs.
	ctx, cancel := context.WithTimeout(context.Background(), stepTimeout)
	defer cancel()
	_, err := s.engine.ContainerRemove(ctx, s.Container(), client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil {
		t.Errorf("servertest: remove %s: %v", s.spec.Server, err)
	}
}

// needDocker ends the test where no container can run: as skipped on a
// developer's machine, as failed under CI.
func needDocker(t testing.TB) {
	t.Helper()
	if err := docker(); err != nil {
		skip(t, err.Error())
	}
}

var docker = sync.OnceValue(func() error { return images.Docker(context.Background()) })

// skip is loud, and a failure where CI=true: a run that tested nothing must
// not look like one that passed.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("servertest: CI=true, and not to be tested here: %s", why)
	}
	fmt.Fprintf(os.Stderr, "servertest: SKIPPED %s: %s\n", t.Name(), why)
	t.Skipf("servertest: SKIPPED: %s", why)
}
