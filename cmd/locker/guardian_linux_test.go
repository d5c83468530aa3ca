// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/cmd/locker/internal/guard"
)

// grandchildren is a script whose group ignores what can be ignored: beat runs
// on when the shell, locker's own child, is dead.
func grandchildren(dir string) string {
	return fmt.Sprintf(`exec >/dev/null 2>&1; trap "" HUP INT TERM QUIT; %s %s/beats & wait; exit 5`, filepath.Join(filepath.Dir(program), "beat"), dir)
}

// holdGrandchildren starts a locker whose command has a running grandchild.
func holdGrandchildren(t *testing.T, dir string, flags ...string) *call {
	t.Helper()
	c, group := hold(t, dir, grandchildren(dir), flags...)
	t.Cleanup(func() { _ = syscall.Kill(-group, syscall.SIGKILL) })
	eventually(t, "the grandchild runs", func() bool { return beats(dir) > 0 })
	return c
}

// guardianOf returns the guardian of a locker, 0 if there is none. A dead
// process has no arguments.
func guardianOf(t *testing.T, locker int) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		args, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(args, fmt.Appendf(nil, "locker\x00%s\x00of\x00%d\x00", guard.Argument, locker)) {
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

func signalTo(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if pid <= 0 {
		t.Fatalf("no process for %v", sig)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("%v to %d: %v", sig, pid, err)
	}
}

func awaitDeadGroup(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "the grandchild is dead", func() bool { return !beatsWithin(dir, 300*time.Millisecond) })
}

// CMD1: what a killed locker leaves is killed first, and then the lock is free.
// The guardian is held up, so that one sees the order.
func TestHazard_CMD1(t *testing.T) {
	dir := t.TempDir()
	holder := holdGrandchildren(t, dir)
	guardian := guardianOf(t, holder.Process.Pid)
	signalTo(t, guardian, syscall.SIGSTOP)
	waiter := newCall(t, dir, "run", "x", "cat", filepath.Join(dir, "beats")).start()
	signalTo(t, holder.Process.Pid, syscall.SIGKILL)
	holder.status()

	if !beatsWithin(dir, 500*time.Millisecond) {
		t.Error("the grandchild is dead before the guardian could do anything: this tests nothing")
	}
	if status, _, stderr := runLocker(t, dir, "run", "--no-wait", "x", "true"); status != exitHeld {
		t.Errorf("status %d while the grandchild runs, want %d; stderr %q", status, exitHeld, stderr)
	}

	signalTo(t, guardian, syscall.SIGCONT)
	if status := waiter.status(); status != 0 {
		t.Errorf("the waiter's status is %d, stderr %q", status, waiter.stderr.String())
	}
	seen := int64(waiter.stdout.Len())
	<-time.After(200 * time.Millisecond)
	if n := beats(dir) - seen; n != 0 {
		t.Errorf("the grandchild wrote %d bytes after the next holder had the lock", n)
	}
	eventually(t, "the guardian is gone", func() bool { return guardianOf(t, holder.Process.Pid) == 0 })
}

// A stopped locker does not renew: its group is dead by the deadline.
func TestHazard_CMD1_Stopped(t *testing.T) {
	dir := t.TempDir()
	holder := holdGrandchildren(t, dir, "--backend", "faulty://", "--ttl", "3s", "--grace", "1h")
	<-time.After(4 * time.Second) // renewals that the guardian was told of
	if !beatsWithin(dir, 500*time.Millisecond) {
		t.Fatal("the command is dead though the lock was renewed")
	}
	signalTo(t, holder.Process.Pid, syscall.SIGSTOP)
	stopped := time.Now()
	awaitDeadGroup(t, dir)
	if took := time.Since(stopped); took > 8*time.Second {
		t.Errorf("the group lived for %v more", took)
	}
	signalTo(t, holder.Process.Pid, syscall.SIGCONT)
	if status := holder.status(); status != exitLost {
		t.Errorf("status %d, want %d", status, exitLost)
	}
	wantLine(t, holder.stderr.String(), "lost", "faulty://")
}

// A lock file does not expire: a stopped locker keeps it, and its command runs.
func TestStoppedHolderKeepsALockFile(t *testing.T) {
	dir := t.TempDir()
	holder := holdGrandchildren(t, dir, "--ttl", "300ms")
	signalTo(t, holder.Process.Pid, syscall.SIGSTOP)
	<-time.After(time.Second)
	if !beatsWithin(dir, 500*time.Millisecond) {
		t.Error("the command is dead")
	}
	if status, _, stderr := runLocker(t, dir, "run", "--no-wait", "x", "true"); status != exitHeld {
		t.Errorf("status %d, want %d; stderr %q", status, exitHeld, stderr)
	}
	signalTo(t, holder.Process.Pid, syscall.SIGKILL)
	holder.status()
	awaitDeadGroup(t, dir)
	if status, _, stderr := runLocker(t, dir, "run", "--wait", within.String(), "x", "true"); status != 0 {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

// Without its guardian a command is ended: on SIGTERM, or after the grace.
func TestKilledGuardian(t *testing.T) {
	for name, grace := range map[string]string{"exit 6": "1h", "": "200ms"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			holder, group := hold(t, dir, `trap "echo told; `+name+`" TERM; while :; do sleep 0.05; done`, "--grace", grace)
			defer func() { _ = syscall.Kill(-group, syscall.SIGKILL) }()
			signalTo(t, guardianOf(t, holder.Process.Pid), syscall.SIGKILL)
			if status := holder.status(); status != exitLost || holder.stdout.String() != "told\n" {
				t.Errorf("status %d, want %d; stdout %q", status, exitLost, holder.stdout.String())
			}
			_, line, _ := strings.Cut(holder.stderr.String(), "locker: ") // the shell may tell of the SIGTERM
			wantLine(t, "locker: "+line, "guardian", `"x"`, "file://"+dir)
			if status, _, stderr := runLocker(t, dir, "run", "--no-wait", "x", "true"); status != 0 {
				t.Errorf("status %d, stderr %q", status, stderr)
			}
		})
	}
}

// A signal to all that locker is means the command: the guardian stays.
func TestGuardianIgnoresSignals(t *testing.T) {
	dir := t.TempDir()
	holder := holdGrandchildren(t, dir)
	guardian := guardianOf(t, holder.Process.Pid)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2} {
		signalTo(t, guardian, sig)
	}
	signalTo(t, holder.Process.Pid, syscall.SIGKILL)
	holder.status()
	awaitDeadGroup(t, dir)
}

// A guardian is no more than it must be: nothing of locker's environment, its
// directory or its session, and gone when locker is.
func TestGuardianIsModest(t *testing.T) {
	dir := t.TempDir()
	holder, _ := hold(t, dir, "read line", "--keep-env")
	holder.status()
	if pid := guardianOf(t, holder.Process.Pid); pid != 0 {
		t.Errorf("guardian %d outlives its locker", pid)
	}

	holder = newCall(t, dir, "run", "x", "sh", "-c", "echo begun; read line")
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	holder.Env = append(holder.Env, "SECRET=secret")
	holder.start()
	var pid int
	eventually(t, "there is a guardian", func() bool { pid = guardianOf(t, holder.Process.Pid); return pid != 0 })
	proc := fmt.Sprintf("/proc/%d/", pid)
	if env, err := os.ReadFile(proc + "environ"); err != nil || bytes.Contains(env, []byte("secret")) {
		t.Errorf("its environment is %q, %v", env, err)
	}
	if cwd, err := os.Readlink(proc + "cwd"); err != nil || cwd != "/" {
		t.Errorf("its directory is %s, %v", cwd, err)
	}
	for fd := range 3 {
		if to, err := os.Readlink(fmt.Sprint(proc, "fd/", fd)); err != nil || to != "/dev/null" {
			t.Errorf("its descriptor %d is %s, %v", fd, to, err)
		}
	}
	stat, err := os.ReadFile(proc + "stat")
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); fields[3] != strconv.Itoa(pid) {
		t.Errorf("its session is %s, not %d", fields[3], pid)
	}
	eventually(t, "it has a name", func() bool {
		comm, err := os.ReadFile(proc + "comm")
		return err == nil && string(comm) == "locker-guardian\n"
	})
	if err := stdin.Close(); err != nil {
		t.Fatal(err)
	}
	holder.status()
}

// What the command leaves in its group when it ends by itself is left alone by
// the guardian too.
func TestGuardianLeavesADaemon(t *testing.T) {
	dir := t.TempDir()
	c := newCall(t, dir, "run", "x", "sh", "-c", filepath.Join(filepath.Dir(program), "beat")+" "+dir+"/beats >/dev/null 2>&1 & echo $!")
	if status := c.start().status(); status != 0 {
		t.Fatalf("status %d, stderr %q", status, c.stderr.String())
	}
	pid, err := strconv.Atoi(strings.TrimSpace(c.stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	defer signalTo(t, pid, syscall.SIGKILL)
	eventually(t, "the guardian is gone", func() bool { return guardianOf(t, c.Process.Pid) == 0 })
	eventually(t, "the daemon runs", func() bool { return beatsWithin(dir, 100*time.Millisecond) })
}
