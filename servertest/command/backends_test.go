// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package command_test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
)

// call runs locker to its end.
func call(t testing.TB, url string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	c := exec.CommandContext(t.Context(), program, args...)
	c.Env, c.Stdout, c.Stderr = append(os.Environ(), "LOCKER_URL="+url), &out, &errs
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// wantCall fails the test unless a call ends with status, prints nothing on
// stdout, and one line with the parts on stderr, or nothing where there are none.
func wantCall(t testing.TB, url string, status int, parts []string, args ...string) {
	t.Helper()
	got, stdout, stderr := call(t, url, args...)
	if got != status || stdout != "" {
		t.Errorf("%q: status %d, want %d; stdout %q, stderr %q", args, got, status, stdout, stderr)
	}
	if lines := strings.Count(stderr, "\n"); lines != min(1, len(parts)) {
		t.Errorf("%q: %d lines on stderr: %q", args, lines, stderr)
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			t.Errorf("%q: stderr %q lacks %q", args, stderr, part)
		}
	}
	if strings.Contains(stderr, "wr0ng") || strings.Contains(stderr, "secret") {
		t.Errorf("%q: stderr %q tells a password", args, stderr)
	}
}

func TestBackends(t *testing.T) {
	t.Parallel()
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := s.newLock(t, servertest.Shared)
			url := l.waiterURL()
			wantCall(t, url, 0, nil, "run", l.name, "true")
			wantCall(t, url, 42, nil, "run", l.name, "sh", "-c", "exit 42")
			wantCall(t, url, 64, []string{"1ms", "from", "to"}, "run", "--ttl", "1ms", l.name, "true")
			if got := l.inspect(); got.Held {
				t.Errorf("inspect of a free lock tells %+v", got)
			}

			holder := l.start(l.holderURL(), "echo $LOCKER_TOKEN >>log; "+obedient, "--note", "the holder")
			await(t, l.dir, "alive")
			wantCall(t, url, 75, []string{"another holds", l.name}, "run", "--no-wait", l.name, "true")
			wantCall(t, url, 75, []string{"another holds", "1s"}, "run", "--wait", "1s", l.name, "true")
			wantCall(t, url, 3, []string{"another holds"}, "run", "--no-wait", "--conflict-exit-code", "3", l.name, "true")
			got := l.inspect()
			if !got.Held || s.note && got.Note != "the holder" {
				t.Errorf("inspect tells %+v", got)
			}
			token, err := strconv.ParseInt(traces(t, l.dir)[0], 10, 64)
			if err != nil || token <= 0 || s.note && token != got.Token {
				t.Errorf("LOCKER_TOKEN is %d, %v; inspect tells %+v", token, err, got)
			}
			holder.signal(syscall.SIGTERM)
			if status := holder.status(); status != 0 || holder.stderr.Len() != 0 {
				t.Errorf("the holder's status is %d, stderr %q", status, holder.stderr.String())
			}
			wantCall(t, url, 0, nil, "run", "--no-wait", l.name, "true")
		})
	}
}

// Four shells count to 32 in a plain file, eight times each: one store after the
// other, since processes that start by the dozen make each other late.
func TestExclusion(t *testing.T) {
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			l := s.newLock(t, servertest.Shared)
			counter := filepath.Join(l.dir, "counter")
			if err := os.WriteFile(counter, []byte("0\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			const script = `for i in 1 2 3 4 5 6 7 8; do
	"$0" run "$1" sh -c 'read n <"$0"; sleep 0.01; echo $((n+1)) >"$0"' "$2" || exit
done`
			var shells sync.WaitGroup
			for range 4 {
				shells.Go(func() {
					c := exec.CommandContext(t.Context(), "sh", "-c", script, program, l.name, counter)
					c.Env = append(os.Environ(), "LOCKER_URL="+l.waiterURL())
					if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
						t.Errorf("%v: %s", err, out)
					}
				})
			}
			shells.Wait()
			if got, err := os.ReadFile(counter); err != nil || string(got) != "32\n" {
				t.Errorf("the counter is %q, want 32; %v", got, err)
			}
		})
	}
}

// A server that refuses says why, and locker what to do; neither tells a secret.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, s := range stores {
		if s.guarded == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, good, bad := s.guarded(t)
			wantCall(t, good, 0, nil, "run", "x", "true")
			for why, r := range bad {
				// At once: after a minute ZooKeeper collects the lock's node, and
				// that there is none is what everybody may know.
				t.Run(why, func(t *testing.T) {
					parts := []string{addr, "refused", r.part, "check its rights", "--backend or $LOCKER_URL"}
					wantCall(t, r.url, 69, parts, "run", "x", "true")
					wantCall(t, r.url, 69, parts, "inspect", "x")
				})
			}
		})
	}
}

// Nobody listens, or somebody who says nothing.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	closed := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for name, s := range servers() {
		for kind, addr := range map[string]string{"refused": closed, "silent": silent.Addr().String()} {
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				wantCall(t, s.url(addr), 69, []string{addr, "cannot reach", "check that it runs"}, "run", "x", "true")
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}
