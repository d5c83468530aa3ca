// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package command_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
)

// stubborn is a command whose child, a grandchild of locker, ignores what can be
// ignored, and leaves a trace as long as it runs. The command tells of SIGTERM.
const stubborn = `
trap "" HUP INT QUIT TERM
(while :; do echo alive >>log; sleep 0.02; done) &
trap "echo told >>log" TERM
while :; do wait; sleep 0.05; done`

// obedient ends on SIGTERM.
const obedient = `trap "echo told >>log; exit 0" TERM; while :; do echo alive >>log; sleep 0.02; done`

// A waiter's command looks for a second whether another runs.
const next = "echo granted >>log; sleep 1; echo over >>log"

// wantHandedOver fails the test if the holder's command left a trace after the
// waiter got the lock.
func (l *lock) wantHandedOver(waiter *process) {
	l.t.Helper()
	if status := waiter.status(); status != 0 {
		l.t.Errorf("the waiter's status is %d, stderr %q", status, waiter.stderr.String())
	}
	lines := traces(l.t, l.dir)
	i := slices.Index(lines, "granted")
	if i < 0 {
		l.t.Fatal("the waiter never had the lock")
	}
	if n := count(lines[i:], "alive") + count(lines[i:], "told"); n > 0 {
		l.t.Errorf("the command left %d traces after another had the lock", n)
	}
}

// guardianOf returns the process that guards a locker's command.
func guardianOf(t testing.TB, locker int) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		args, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(args, fmt.Appendf(nil, "locker\x00(guardian)\x00of\x00%d\x00", locker)) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			return pid
		}
	}
	return 0
}

func TestHazard_CMD1_Killed(t *testing.T) {
	t.Parallel()
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := s.newLock(t, servertest.Shared)
			holder, waiter := l.holdAndWait(stubborn, "--ttl", l.shortTTL())
			holder.signal(syscall.SIGKILL)
			holder.status()
			killed := len(traces(t, l.dir))
			l.wantHandedOver(waiter)
			if n := count(traces(t, l.dir)[killed:], "alive"); n > 100 { // 2 s; on a server the lock lives for 4 at least
				t.Errorf("the grandchild left %d more traces", n)
			}
			eventually(t, "the guardian is gone", func() bool { return guardianOf(t, holder.Process.Pid) == 0 })
		})
	}
}

func TestHazard_CMD1_Stopped(t *testing.T) {
	t.Parallel()
	for name, s := range servers() { // a lock file is kept, for which cmd/locker has a test
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := s.newLock(t, servertest.Shared)
			holder, waiter := l.holdAndWait(stubborn, "--ttl", l.shortTTL())
			holder.signal(syscall.SIGSTOP)
			l.wantHandedOver(waiter)
			holder.signal(syscall.SIGCONT)
			holder.wantLost("lost")
		})
	}
}

func TestHazard_CMD1_KilledGuardian(t *testing.T) {
	t.Parallel()
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := s.newLock(t, servertest.Shared)
			holder, waiter := l.holdAndWait(stubborn, "--ttl", "1m", "--grace", "300ms")
			guardian := guardianOf(t, holder.Process.Pid)
			if guardian == 0 {
				t.Fatal("there is no guardian")
			}
			if err := syscall.Kill(guardian, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			holder.wantLost("guardian")
			l.wantHandedOver(waiter)
			if count(traces(t, l.dir), "told") != 1 {
				t.Error("no SIGTERM before the SIGKILL")
			}
		})
	}
}

// The store is out of the holder's reach, or does nothing: SIGTERM, and SIGKILL
// before the waiter can have the lock.
func TestHazard_CMD2(t *testing.T) {
	t.Parallel()
	faults := map[string]struct {
		start      func(testing.TB, servertest.Spec) *servertest.Server
		fail, heal func(*lock)
	}{
		"black hole": {
			servertest.Shared,
			func(l *lock) { l.network.BlackHole() },
			func(*lock) {},
		},
		"paused server": {
			servertest.Start,
			func(l *lock) { l.server.Pause(l.t) },
			func(l *lock) { l.server.Unpause(l.t) },
		},
	}
	for name, s := range servers() {
		for fault, tt := range faults {
			t.Run(name+"/"+fault, func(t *testing.T) {
				t.Parallel()
				l := s.newLock(t, tt.start)
				holder, waiter := l.holdAndWait(stubborn, "--ttl", l.shortTTL())
				tt.fail(l)
				await(t, l.dir, "told")
				eventually(t, "the command is dead", func() bool {
					n := len(traces(t, l.dir))
					<-time.After(300 * time.Millisecond)
					return len(traces(t, l.dir)) == n || count(traces(t, l.dir), "granted") > 0
				})
				tt.heal(l)
				l.wantHandedOver(waiter)
				lines := traces(t, l.dir)
				if n := count(lines[slices.Index(lines, "told"):], "alive"); n == 0 {
					t.Error("SIGKILL came with SIGTERM")
				}
				holder.wantLost("lost")
			})
		}
	}
}

// An administrator takes the lock away: SIGTERM soon, and then the whole grace,
// which may be longer than the lock would have lived. The waiter has the lock.
func TestTakenAway(t *testing.T) {
	t.Parallel()
	for name, s := range stores {
		for way, lose := range s.lose {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				l := s.newLock(t, servertest.Shared)
				ttl, err := time.ParseDuration(l.shortTTL())
				if err != nil {
					t.Fatal(err)
				}
				holder, waiter := l.holdAndWait(`
trap "echo told >>log; sleep 8; echo clean >>log; exit" TERM
echo alive >>log; while :; do sleep 0.02; done`, "--ttl", ttl.String(), "--grace", "1m")
				lose(l)
				lost := time.Now()
				await(t, l.dir, "told")
				if took := time.Since(lost); took > ttl/3+time.Second {
					t.Errorf("SIGTERM after %v, want at most %v", took, ttl/3+time.Second)
				}
				holder.wantLost("lost")
				if count(traces(t, l.dir), "clean") != 1 {
					t.Errorf("the command did not have its grace; stderr %q", holder.stderr.String())
				}
				if status := waiter.status(); status != 0 || count(traces(t, l.dir), "granted") != 1 {
					t.Errorf("the waiter's status is %d, stderr %q", status, waiter.stderr.String())
				}
			})
		}
	}
}
