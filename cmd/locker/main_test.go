// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is this test binary under the name locker: called by that name it is
// the command, with the race detector if the tests have it. Beside it is beat.
var program string

func TestMain(m *testing.M) {
	switch strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") {
	case "locker":
		main()
	case "beat":
		beat(os.Args[1])
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "locker-test-*")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "locker")
	if runtime.GOOS == "windows" {
		program += ".exe"
		err = os.Link(self, program)
	} else {
		err = errors.Join(os.Symlink(self, program), os.Symlink(self, filepath.Join(dir, "beat")))
	}
	if err != nil {
		panic(err)
	}
	if err := errors.Join(
		os.Unsetenv("LOCKER_URL"),
		os.Setenv("GORACE", "atexit_sleep_ms=0"), // else each process ends a second late
	); err != nil {
		panic(err)
	}
	// What started the tests may ignore a signal, as nohup does, and processes
	// inherit that; but not a signal that is caught.
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	return m.Run()
}

// beat is a command that shows for how long it runs: a file grows. It is no shell
// script, because one that is stopped in the middle of a vfork does not stop.
func beat(path string) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	for range time.Tick(20 * time.Millisecond) {
		if _, err := f.WriteString("beat\n"); err != nil {
			panic(err)
		}
	}
}

// within is how long a test waits for what must happen. It is generous, since
// the machine may be busy.
const within = 30 * time.Second

// A call is a locker process of a test, on lock files in the test's directory.
type call struct {
	*exec.Cmd
	t              testing.TB
	stdout, stderr bytes.Buffer
}

// newCall prepares a process. It is killed when the test ends.
func newCall(t testing.TB, dir string, args ...string) *call {
	t.Helper()
	c := &call{Cmd: exec.CommandContext(t.Context(), program, args...), t: t}
	c.Env = append(os.Environ(), "XDG_STATE_HOME="+dir)
	c.Stdout, c.Stderr = &c.stdout, &c.stderr
	c.WaitDelay = within // a daemon that keeps a pipe open fails the test, but does not hang it
	return c
}

func (c *call) start() *call {
	c.t.Helper()
	if err := c.Start(); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// status waits for the end and returns the exit status, -1 after a signal.
func (c *call) status() int {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			c.t.Fatalf("locker: %v, stderr %q", err, c.stderr.String())
		}
	case <-time.After(2 * within):
		c.t.Fatalf("locker has not ended: stdout %q, stderr %q", c.stdout.String(), c.stderr.String())
	}
	return c.ProcessState.ExitCode()
}

// runLocker runs locker and returns its exit status and what it wrote.
func runLocker(t testing.TB, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	c := newCall(t, dir, args...).start()
	status = c.status()
	return status, c.stdout.String(), c.stderr.String()
}

// eventually fails the test unless cond becomes true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// wantLine fails the test unless text is one line of locker's that holds all of
// the parts.
func wantLine(t testing.TB, text string, parts ...string) {
	t.Helper()
	if !strings.HasPrefix(text, "locker: ") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		t.Errorf("stderr %q, want one line that begins with locker:", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("stderr %q lacks %q", text, part)
		}
	}
}

// needProgram ends the test where a program is missing, which .ci/run installs.
func needProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("there is no %s", name)
	}
	t.Skipf("SKIPPED: there is no %s", name)
}
