// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestExitStatus(t *testing.T) {
	bin := t.TempDir()
	files := map[string]os.FileMode{"plain": 0o600, "garbage": 0o700}
	for name, mode := range files {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("garbage"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		args   []string
		status int
		parts  []string // of the line on stderr; nil: none
	}{
		"success":                {[]string{"true"}, 0, nil},
		"the command's own":      {[]string{"sh", "-c", "exit 42"}, 42, nil},
		"after --":               {[]string{"--", "sh", "-c", "exit 43"}, 43, nil},
		"a status of locker's":   {[]string{"sh", "-c", "exit 75"}, 75, nil},
		"flags of the command":   {[]string{"sh", "-c", "test $1 = --ttl", "sh", "--ttl"}, 0, nil},
		"a second -- is its":     {[]string{"--", "sh", "-c", "test $1 = --", "sh", "--"}, 0, nil},
		"SIGTERM":                {[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15, nil},
		"SIGKILL":                {[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9, nil},
		"not found in PATH":      {[]string{"no-such-command"}, exitNotFound, []string{"no-such-command", "PATH"}},
		"no such path":           {[]string{bin + "/none"}, exitNotFound, []string{bin + "/none"}},
		"not executable":         {[]string{bin + "/plain"}, exitCannotRun, []string{bin + "/plain", "permission denied"}},
		"a directory":            {[]string{bin}, exitCannotRun, []string{bin}},
		"neither ELF nor script": {[]string{bin + "/garbage"}, exitCannotRun, []string{bin + "/garbage", "#!"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := runLocker(t, t.TempDir(), append([]string{"run", "x"}, tt.args...)...)
			if status != tt.status || stdout != "" {
				t.Errorf("status %d, want %d; stdout %q", status, tt.status, stdout)
			}
			if tt.parts != nil {
				wantLine(t, stderr, tt.parts...)
			} else if stderr != "" {
				t.Errorf("stderr %q, want none", stderr)
			}
		})
	}
}

func TestStreams(t *testing.T) {
	c := newCall(t, t.TempDir(), "run", "x", "sh", "-c", "cat; echo trouble >&2")
	c.Stdin = strings.NewReader("to be read")
	if status := c.start().status(); status != 0 || c.stdout.String() != "to be read" || c.stderr.String() != "trouble\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, c.stdout.String(), c.stderr.String())
	}
}

func TestEnvironment(t *testing.T) {
	for _, keep := range []string{"--keep-env=false", "--keep-env"} {
		dir := t.TempDir()
		c := newCall(t, dir, "run", keep, "a name", "sh", "-c", `echo "$LOCKER_NAME ${LOCKER_TOKEN} ${LOCKER_URL-none}"`)
		url := "file://" + dir
		c.Env = append(c.Env, "LOCKER_URL="+url, "LOCKER_NAME=outer", "LOCKER_TOKEN=outer")
		if status := c.start().status(); status != 0 {
			t.Fatalf("status %d, stderr %q", status, c.stderr.String())
		}
		if keep == "--keep-env=false" {
			url = "none"
		}
		rest, ok := strings.CutPrefix(strings.TrimSpace(c.stdout.String()), "a name ")
		token, gotURL, _ := strings.Cut(rest, " ")
		if n, err := strconv.ParseInt(token, 10, 64); !ok || err != nil || n <= 0 || gotURL != url {
			t.Errorf("%s: %q, want the name, a token and URL %s", keep, c.stdout.String(), url)
		}
	}
}

// Six shells count to 120 in a plain file, twenty times each.
func TestExclusion(t *testing.T) {
	dir := t.TempDir()
	counter := filepath.Join(dir, "counter")
	if err := os.WriteFile(counter, []byte("0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := `i=0
while [ $i -lt 20 ]; do
	"$0" run counter sh -c 'read n <"$0"; echo $((n+1)) >"$0"' "$1" || exit
	i=$((i+1))
done`
	var shells []*call
	for range 6 {
		c := newCall(t, dir)
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", script, program, counter}
		shells = append(shells, c.start())
	}
	for _, c := range shells {
		if status := c.status(); status != 0 || c.stderr.Len() > 0 {
			t.Errorf("status %d, stderr %q", status, c.stderr.String())
		}
	}
	got, err := os.ReadFile(counter)
	if err != nil || string(got) != "120\n" {
		t.Errorf("counter is %q, want 120; %v", got, err)
	}
}

// hold starts locker with a command that runs script and has begun to. It
// returns the command's process group too.
func hold(t *testing.T, dir, script string, flags ...string) (c *call, group int) {
	t.Helper()
	started := filepath.Join(t.TempDir(), "started")
	args := append(append([]string{"run"}, flags...), "x", "sh", "-c", "echo $$ >"+started+".new; mv "+started+".new "+started+"; "+script)
	c = newCall(t, dir, args...).start()
	group, err := strconv.Atoi(c.awaitFile(started))
	if err != nil {
		t.Fatal(err)
	}
	return c, group
}

func (c *call) awaitFile(path string) (content string) {
	c.t.Helper()
	eventually(c.t, "there is "+filepath.Base(path), func() bool {
		data, err := os.ReadFile(path)
		content = strings.TrimSpace(string(data))
		return err == nil
	})
	return content
}

func TestHeld(t *testing.T) {
	dir := t.TempDir()
	holder, _ := hold(t, dir, "exec sleep 1000", "--note", "the \x1b[31mholder")

	for _, tt := range []struct {
		flags  []string
		status int
	}{
		{[]string{"--no-wait"}, exitHeld},
		{[]string{"--wait", "0"}, exitHeld},
		{[]string{"--wait", "200ms"}, exitHeld},
		{[]string{"--no-wait", "--conflict-exit-code", "3"}, 3},
	} {
		status, stdout, stderr := runLocker(t, dir, append(append([]string{"run"}, tt.flags...), "x", "echo", "ran")...)
		if status != tt.status || stdout != "" {
			t.Errorf("%v: status %d, want %d; stdout %q", tt.flags, status, tt.status, stdout)
		}
		wantLine(t, stderr, `"x"`, "file://"+dir, "locker inspect")
	}

	if _, stdout, _ := runLocker(t, dir, "inspect", "x"); !strings.Contains(stdout, "by       the ?[31mholder\n") || !strings.Contains(stdout, "token") || !strings.Contains(stdout, "since") {
		t.Errorf("inspect: %q", stdout)
	}
	_, stdout, _ := runLocker(t, dir, "inspect", "--json", "x")
	var got struct {
		Held  bool
		Note  string
		Token int64
		Since time.Time
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || !got.Held || got.Note != "the \x1b[31mholder" || got.Token == 0 || got.Since.IsZero() {
		t.Errorf("inspect --json: %q, %v", stdout, err)
	}

	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := holder.status(); status != 128+15 {
		t.Errorf("the holder's status is %d", status)
	}
	if status, _, stderr := runLocker(t, dir, "run", "--no-wait", "x", "true"); status != 0 {
		t.Errorf("after the release: status %d, stderr %q", status, stderr)
	}
}

// The note names the command and never its arguments.
func TestDefaultNote(t *testing.T) {
	dir := t.TempDir()
	hold(t, dir, "exec sleep 1000 # secret")
	_, stdout, _ := runLocker(t, dir, "inspect", "x")
	if !strings.Contains(stdout, "@") || !strings.Contains(stdout, " sh\n") || strings.Contains(stdout, "secret") {
		t.Errorf("inspect: %q", stdout)
	}
}

func TestKilledHolderFreesTheLock(t *testing.T) {
	dir := t.TempDir()
	holder, _ := hold(t, dir, "exec "+filepath.Join(filepath.Dir(program), "beat")+" "+filepath.Join(dir, "beats"))
	eventually(t, "the command runs", func() bool { return beats(dir) > 0 })
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" { // elsewhere the kernel does not kill the command
		eventually(t, "the command is dead", func() bool { return !beatsWithin(dir, 500*time.Millisecond) })
	}
	if status, _, stderr := runLocker(t, dir, "run", "--wait", within.String(), "x", "true"); status != 0 {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

// What the command leaves behind neither keeps the lock nor locker.
func TestDaemon(t *testing.T) {
	for name, script := range map[string]string{
		"in the group": "sleep 1000 & echo $!",
		"out of it":    "setsid sleep 1000 & echo $!",
		"ignoring all": `(trap "" HUP INT TERM; exec sleep 1000) & echo $!`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out, err := os.Create(filepath.Join(dir, "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			c := newCall(t, dir, "run", "x", "sh", "-c", script)
			c.Stdout, c.Stderr = out, out // not pipes: those would hang this test, not locker
			if status := c.start().status(); status != 0 {
				t.Fatalf("status %d", status)
			}
			pid, err := strconv.Atoi(c.awaitFile(out.Name()))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
			if err := syscall.Kill(pid, 0); err != nil {
				t.Errorf("the daemon is gone: %v", err)
			}
			if status, _, stderr := runLocker(t, dir, "run", "--no-wait", "x", "true"); status != 0 {
				t.Errorf("status %d while the daemon runs, stderr %q", status, stderr)
			}
		})
	}
}

// Signals reach everything in the command's group.
func TestSignalsArePassedOn(t *testing.T) {
	for _, sig := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
	} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			// Background processes of a shell ignore SIGINT and SIGQUIT, and
			// cannot trap what they ignored at their start.
			script := fmt.Sprintf(`exec 2>/dev/null # where shells tell of signals
trap 'echo outer; exit 7' %[1]d
sh -c 'trap "echo inner; exit" %[1]d; echo ready >"$0"; while :; do sleep 0.05; done' "$0"
while :; do sleep 0.05; done`, sig)
			ready := filepath.Join(t.TempDir(), "ready")
			c := newCall(t, t.TempDir(), "run", "x", "sh", "-c", script, ready).start()
			c.awaitFile(ready)
			if err := c.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if status := c.status(); status != 7 || c.stdout.String() != "inner\nouter\n" || c.stderr.Len() != 0 {
				t.Errorf("status %d, stdout %q, stderr %q", status, c.stdout.String(), c.stderr.String())
			}
		})
	}
}

// What nohup makes locker ignore, the command ignores too.
func TestIgnoredSignals(t *testing.T) {
	c := newCall(t, t.TempDir())
	c.Path, c.Args = "/bin/sh", []string{"sh", "-c", `trap "" HUP; exec "$0" run x sh -c 'kill -HUP $PPID; kill -HUP $$; echo alive'`, program}
	if status := c.start().status(); status != 0 || c.stdout.String() != "alive\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, c.stdout.String(), c.stderr.String())
	}
}

func TestSignalWhileWaiting(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			holder, _ := hold(t, dir, "exec sleep 1000")
			screen := newScreen(t)
			waiter := newCall(t, dir, "run", "x", "echo", "ran")
			waiter.Env = append(waiter.Env, "TERM=xterm")
			waiter.Stderr = screen.tty
			waiter.start()
			screen.await("waiting")
			sent := time.Now()
			if err := waiter.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if status := waiter.status(); status != 128+int(sig) || waiter.stdout.Len() != 0 {
				t.Errorf("status %d, stdout %q", status, waiter.stdout.String())
			}
			if took := time.Since(sent); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
			if err := holder.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if status, _, stderr := runLocker(t, dir, "run", "--wait", within.String(), "x", "true"); status != 0 {
				t.Errorf("status %d, stderr %q", status, stderr)
			}
		})
	}
}

// A lock file that is removed is a loss that the store tells: SIGTERM, then
// SIGKILL after --grace, for all of the group.
func TestLoss(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		grace  string
		stdout string
	}{
		"ends on SIGTERM":               {"exec sleep 1000", "1m", ""},
		"cleans up":                     {`exec 2>/dev/null; trap 'echo clean; exit 0' TERM; while :; do sleep 0.05; done`, "1m", "clean\n"},
		"ignores SIGTERM":               {`trap "" TERM; while :; do sleep 0.05; done`, "100ms", ""},
		"leaves a child that cleans up": {`exec 2>/dev/null; sh -c 'trap "sleep 0.3; echo child; exit" TERM; echo ready >"$XDG_STATE_HOME/ready"; while :; do sleep 0.05; done' & sleep 1000`, "1m", "child\n"},
		"leaves a child that ignores":   {`sh -c 'trap "" TERM; echo ready >"$XDG_STATE_HOME/ready"; while :; do sleep 0.05; done' & sleep 1000`, "100ms", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c, group := hold(t, dir, tt.script, "--ttl", "600ms", "--grace", tt.grace)
			if strings.Contains(tt.script, "ready") {
				c.awaitFile(filepath.Join(dir, "ready"))
			}
			locks, err := filepath.Glob(filepath.Join(dir, "locker", "*.lock"))
			if err != nil || len(locks) != 1 {
				t.Fatalf("lock files: %v, %v", locks, err)
			}
			if err := os.Remove(locks[0]); err != nil {
				t.Fatal(err)
			}
			if status := c.status(); status != exitLost || c.stdout.String() != tt.stdout {
				t.Errorf("status %d, want %d; stdout %q, want %q", status, exitLost, c.stdout.String(), tt.stdout)
			}
			wantLine(t, c.stderr.String(), `"x"`, "file://"+dir, "lost", "removed")
			eventually(t, "the group is gone", func() bool { return syscall.Kill(-group, 0) == syscall.ESRCH })
		})
	}
}

// A loss that comes to light with the command's own end counts too.
func TestLossFoundAtUnlock(t *testing.T) {
	dir := t.TempDir()
	status, _, stderr := runLocker(t, dir, "run", "--ttl", "1h", "x", "sh", "-c", "rm "+dir+"/locker/*.lock")
	if status != exitLost {
		t.Errorf("status %d, want %d", status, exitLost)
	}
	wantLine(t, stderr, "lost")
}
