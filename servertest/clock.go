// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A .c file beside a package's Go files would be for cgo.
//
//go:embed clock/clock.c
var clockSource string

const clockFile = "/clock" // in the container

// MovableClock is a server whose wall clock [Server.MoveClock] sets: a library
// that is preloaded into it moves what it is told. The server must call libc for
// the time, which those written in Go do not. It needs a C compiler.
func MovableClock(t testing.TB, spec Spec) Spec {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		skip(t, "a moved wall clock needs a C compiler")
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if err := os.WriteFile(source, []byte(clockSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), cc, "-shared", "-fPIC", "-O2", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("servertest: compile the movable clock: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(library)
	if err != nil {
		t.Fatal(err)
	}
	spec.Files, spec.Env = maps.Clone(spec.Files), maps.Clone(spec.Env)
	if spec.Files == nil {
		spec.Files = map[string]string{}
	}
	if spec.Env == nil {
		spec.Env = map[string]string{}
	}
	spec.Files["/clock.so"], spec.Files[clockFile] = string(binary), clockText(0)
	spec.Env["LD_PRELOAD"] = "/clock.so"
	return spec
}

func clockText(by time.Duration) string { return fmt.Sprintf("%+016d", by.Milliseconds()) }

// MoveClock moves the wall clock of a server with a [MovableClock], on top of what
// it was moved before. A restart keeps that, Empty does not.
func (s *Server) MoveClock(t testing.TB, by time.Duration) {
	t.Helper()
	s.mu.Lock()
	s.clock += by
	text := clockText(s.clock)
	s.mu.Unlock()
	s.Exec(t, "sh", "-c", "printf %s "+text+" 1<>"+clockFile) // a file that is cut first is no clock for a moment
}
