// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package command_test runs the command locker as processes, against real
// servers that fail.
package command_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/servertest/backendtest"
)

// program is locker, built as users build it.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "locker-command-*")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "locker")
	build := exec.Command("go", "build", "-o", program, "./cmd/locker")
	build.Dir = filepath.Join("..", "..") // the root module: what it depends on is not in this one
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

const within = 60 * time.Second

// A process is a locker of a test, in the test's directory, in which commands
// leave their traces in the file log.
type process struct {
	*exec.Cmd
	t      testing.TB
	stderr bytes.Buffer
	done   chan struct{}
}

// start runs "locker run FLAGS NAME sh -c SCRIPT" on the store at url. Whatever the
// test leaves of it is killed when the test ends.
func (l *lock) start(url, script string, flags ...string) *process {
	l.t.Helper()
	args := append(append([]string{"run"}, flags...), l.name, "sh", "-c", "echo $$ >>groups; exec 2>/dev/null; "+script)
	p := &process{Cmd: exec.Command(program, args...), t: l.t, done: make(chan struct{})}
	p.Dir, p.Stderr = l.dir, &p.stderr
	p.Env = append(os.Environ(), "LOCKER_URL="+url)
	if err := p.Start(); err != nil {
		l.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.Wait() // ProcessState tells
	}()
	l.t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

// status waits for the end, and returns the exit status, -1 after a signal.
func (p *process) status() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(within):
		p.t.Fatalf("locker %q has not ended", p.Args)
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// wantLost fails the test unless locker ends with status 74 and one line.
func (p *process) wantLost(part string) {
	p.t.Helper()
	if status := p.status(); status != 74 {
		p.t.Errorf("status %d, want 74", status)
	}
	if text := p.stderr.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, part) {
		p.t.Errorf("stderr %q, want one line with %q", text, part)
	}
}

// traces returns the lines that commands have left.
func traces(t testing.TB, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func count(lines []string, line string) (n int) {
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}

func await(t testing.TB, dir, line string) {
	t.Helper()
	eventually(t, "there is the trace "+line, func() bool { return count(traces(t, dir), line) > 0 })
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	backendtest.Within(t, within, what, ok)
}
