// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
)

// slack is how long an event may take on a loaded machine.
const slack = time.Minute

// TestKilledBinaryLeavesNothing runs this binary again, lets that start a
// container in a network, and kills it the hard way.
func TestKilledBinaryLeavesNothing(t *testing.T) {
	if os.Getenv("LOCKER_TEST_VICTIM") != "" {
		victim(t)
	}
	t.Parallel()
	servertest.Shared(t, servertest.Redis()) // skips without Docker
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestKilledBinaryLeavesNothing$", "-test.v=false")
	cmd.Env = append(os.Environ(), "LOCKER_TEST_VICTIM=1")
	if _, err := cmd.StdinPipe(); err != nil { // by which the victim notices should this binary die first
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	container, network := "", ""
	for lines := bufio.NewScanner(out); network == "" && lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "container "); ok {
			container = id
		}
		if id, ok := strings.CutPrefix(lines.Text(), "network "); ok {
			network = id
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if container == "" || network == "" {
		t.Fatal("the victim started nothing")
	}
	deadline := time.NewTimer(slack)
	defer deadline.Stop()
	for exists("container", container) || exists("network", network) {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-deadline.C:
			t.Fatalf("still there: container %s or network %s", container, network)
		}
	}
}

func exists(kind, id string) bool {
	return exec.Command("docker", kind, "inspect", id).Run() == nil
}

func victim(t *testing.T) {
	network := servertest.NewNetwork(t)
	spec := servertest.Redis()
	spec.Network, spec.Alias = network, "victim"
	srv := servertest.Start(t, spec)
	fmt.Println("container", srv.Container())
	fmt.Println("network", network.ID)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
