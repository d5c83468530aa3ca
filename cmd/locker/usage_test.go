// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each refusal is one line on stderr, and nothing on stdout.
func TestRefusals(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 513)
	for name, tt := range map[string]struct {
		args   []string
		status int
		parts  []string
	}{
		"unknown command":      {[]string{"rnu"}, exitUsage, []string{"rnu", "--help"}},
		"unknown flag":         {[]string{"run", "--foo", "x", "true"}, exitUsage, []string{"--foo", "locker run --help"}},
		"no command":           {[]string{"run", "x"}, exitUsage, []string{"COMMAND"}},
		"no command after --":  {[]string{"run", "x", "--"}, exitUsage, []string{"COMMAND"}},
		"no scheme":            {[]string{"run", "--backend", "secret", "x", "true"}, exitUsage, []string{"--backend", "scheme"}},
		"unknown scheme":       {[]string{"run", "--backend", "nosuch://u:secret@h", "x", "true"}, exitUsage, []string{"nosuch", "file"}},
		"unknown parameter":    {[]string{"run", "--backend", "file:///tmp/x?colour=secret", "x", "true"}, exitUsage, []string{"colour", "file", "ttl"}},
		"bad value in a URL":   {[]string{"run", "--backend", "redis://:secret@h/zero", "x", "true"}, exitUsage, []string{"redis", "database"}},
		"bad TTL":              {[]string{"run", "--ttl", "soon", "x", "true"}, exitUsage, []string{"soon", "--ttl"}},
		"negative TTL":         {[]string{"run", "--ttl", "-1s", "x", "true"}, exitUsage, []string{"--ttl"}},
		"TTL out of range":     {[]string{"run", "--ttl", "1ms", "x", "true"}, exitUsage, []string{"1ms", "from", "to", "--ttl"}},
		"TTL of a server":      {[]string{"run", "--ttl", "1ms", "--backend", "etcd://127.0.0.1:1", "x", "true"}, exitUsage, []string{"1ms", "from", "to", "--ttl"}},
		"TTL of the URL":       {[]string{"run", "--backend", "file:///tmp/x?ttl=1ms", "x", "true"}, exitUsage, []string{"1ms", "from", "to"}},
		"empty name":           {[]string{"run", "", "true"}, exitUsage, []string{"NAME"}},
		"long name":            {[]string{"run", long, "true"}, exitUsage, []string{"NAME", "512"}},
		"name of no text":      {[]string{"run", "\xff", "true"}, exitUsage, []string{"NAME"}},
		"long note":            {[]string{"run", "--note", long + long, "x", "true"}, exitUsage, []string{"--note", "1024"}},
		"negative wait":        {[]string{"run", "--wait", "-1s", "x", "true"}, exitUsage, []string{"--wait"}},
		"two waits":            {[]string{"run", "--wait", "1s", "--no-wait", "x", "true"}, exitUsage, []string{"--wait", "--no-wait"}},
		"negative grace":       {[]string{"run", "--grace", "-1s", "x", "true"}, exitUsage, []string{"--grace"}},
		"conflict exit code":   {[]string{"run", "--conflict-exit-code", "256", "x", "true"}, exitUsage, []string{"255"}},
		"newline in a URL":     {[]string{"run", "--backend", "file:///tmp/x\n", "x", "true"}, exitUsage, []string{"--backend", "control character"}},
		"bad sslmode":          {[]string{"run", "--backend", "postgres://u:secret@h/x?sslmode=on", "x", "true"}, exitUsage, []string{"sslmode", "disable"}},
		"unknown shell":        {[]string{"completion", "tcsh"}, exitUsage, []string{"tcsh", "--help"}},
		"unfit directory":      {[]string{"run", "--backend", "file://" + plain + "/dir", "x", "true"}, exitUnavailable, []string{plain, "--backend", "LOCKER_URL"}},
		"inspect without name": {[]string{"inspect"}, exitUsage, []string{"NAME"}},
		"inspect, bad name":    {[]string{"inspect", ""}, exitUsage, []string{"NAME"}},
		"version of what":      {[]string{"version", "x"}, exitUsage, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := runLocker(t, t.TempDir(), tt.args...)
			if status != tt.status || stdout != "" {
				t.Errorf("status %d, want %d; stdout %q", status, tt.status, stdout)
			}
			wantLine(t, stderr, tt.parts...)
			if strings.Contains(stderr, "secret") {
				t.Errorf("stderr %q tells a secret", stderr)
			}
		})
	}
}

// A full disk, or whatever else keeps locker from printing, is not the user's
// mistake.
func TestCannotPrint(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("only Linux has it: %v", err)
	}
	defer full.Close()
	for _, args := range [][]string{{"version"}, {"man"}, {"inspect", "x"}, {"inspect", "--json", "x"}, {"completion", "zsh"}} {
		c := newCall(t, t.TempDir(), args...)
		c.Stdout = full
		if status := c.start().status(); status != exitFailed {
			t.Errorf("%q: status %d, want %d", args, status, exitFailed)
		}
		wantLine(t, c.stderr.String(), "no space left")
		if strings.Contains(c.stderr.String(), "--help") {
			t.Errorf("%q: stderr %q sends the user to the help", args, c.stderr.String())
		}
	}
}

func TestNoDirectoryForLockFiles(t *testing.T) {
	c := newCall(t, "", "run", "x", "true")
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	if status := c.start().status(); status != exitUsage {
		t.Errorf("status %d, want %d", status, exitUsage)
	}
	wantLine(t, c.stderr.String(), "XDG_STATE_HOME", "HOME", "--backend")
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"run", "--help"}, {"help", "run"}} {
		status, stdout, stderr := runLocker(t, t.TempDir(), args...)
		if status != 0 || stderr != "" {
			t.Errorf("%v: status %d, stderr %q", args, status, stderr)
		}
		for _, part := range []string{exitTable, "LOCKER_URL", "ps", "file", "do not exclude each other", "--conflict-exit-code"} {
			if !strings.Contains(stdout, part) {
				t.Errorf("%v: lacks %q", args, part)
			}
		}
	}
}

func TestReadmeHasTheExitStatuses(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{exitUsage, exitUnavailable, exitLost, exitHeld, exitCannotRun, exitNotFound} {
		if row := fmt.Sprintf("\n| %d |", status); !strings.Contains(string(readme), row) {
			t.Errorf("the README's table lacks %d", status)
		}
		if row := fmt.Sprintf("\n  %-6d ", status); !strings.Contains(exitTable, row) {
			t.Errorf("the help's table lacks %d", status)
		}
	}
}

func TestVersion(t *testing.T) {
	status, stdout, stderr := runLocker(t, t.TempDir(), "version")
	if status != 0 || !strings.HasPrefix(stdout, "locker ") || stderr != "" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

func TestInspectFree(t *testing.T) {
	dir := t.TempDir()
	if status, stdout, stderr := runLocker(t, dir, "inspect", "x"); status != 0 || stdout != "\"x\" is free\n" || stderr != "" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	_, stdout, _ := runLocker(t, dir, "inspect", "--json", "x")
	var got struct {
		Name string
		Held *bool
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Name != "x" || got.Held == nil || *got.Held {
		t.Errorf("JSON %q: %v", stdout, err)
	}
}

func TestPrintable(t *testing.T) {
	if got := printable("müller \x1b[2J\n世界"); got != "müller ?[2J?世界" {
		t.Errorf("printable: %q", got)
	}
}
