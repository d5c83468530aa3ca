// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// The reaper is this very binary, started again. It waits for the end of its
// standard input, which comes with the death of the test binary however that
// dies, and removes what carries the run's label. testcontainers-go has a
// reaper too, but in an image, which is not to be had everywhere.
const (
	runLabel   = "locker-test.run"
	reaperVar  = "LOCKER_TEST_REAPER"
	quietTurns = 4 // a container may still be in the making when the binary dies
	turn       = 500 * time.Millisecond
)

// run is what this binary's containers and networks are labelled with.
var run = strings.ToLower(rand.Text())

func init() {
	if dead := os.Getenv(reaperVar); dead != "" {
		_, _ = io.Copy(io.Discard, os.Stdin) // any end of it will do
		reap(dead)
		os.Exit(0)
	}
	// Read once by testcontainers-go, at its first use. Its guess at the
	// engine's address is wrong when it runs in a container itself.
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	_ = os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", loopback)
	log.SetDefault(log.NewNoopLogger())
}

// startReaper comes before the first container.
var startReaper = sync.OnceValue(func() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the reaper: %w", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), reaperVar+"="+run)
	// A session of its own: an interrupt from the terminal must not end it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start the reaper: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the reaper: %w", err)
	}
	keep(lifeline)
	return nil
})

// keep holds the write end of the pipe until the process dies: what the
// collector finds unused it closes.
func keep(lifeline io.Closer) { lifelines = append(lifelines, lifeline) }

var lifelines []io.Closer

func reap(dead string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	engine, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return
	}
	filters := make(client.Filters).Add("label", runLabel+"="+dead)
	for quiet := 0; quiet < quietTurns && ctx.Err() == nil; quiet++ {
		containers, err := engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
		if err != nil || len(containers.Items) > 0 {
			quiet = -1
		}
		for _, c := range containers.Items {
			_, _ = engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}) // tried again next turn
		}
		networks, err := engine.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
		if err != nil || len(networks.Items) > 0 {
			quiet = -1
		}
		for _, n := range networks.Items {
			_, _ = engine.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}) // tried again next turn
		}
		time.Sleep(turn) // sleeps: the engine gives no event for a container that never comes
	}
}
