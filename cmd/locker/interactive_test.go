// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// resize makes the window of the screen another size, of which the kernel tells
// the terminal's foreground group.
func (s *screen) resize(rows, columns uint16) {
	s.t.Helper()
	if err := pty.Setsize(s.ptmx, &pty.Winsize{Rows: rows, Cols: columns}); err != nil {
		s.t.Fatal(err)
	}
}

// wantUsable fails the test unless the shell has the terminal, in the modes that
// a line is typed in.
func (s *screen) wantUsable() {
	s.t.Helper()
	from := len(s.text())
	s.typeIn("stty -a; echo mo\"\"des\n")
	s.await("modes")
	if modes := s.text()[from:]; strings.Contains(modes, "-icanon") || strings.Contains(modes, "-echo ") || strings.Contains(modes, "-isig") {
		s.t.Errorf("the terminal is left with the modes of another:\n%s", modes)
	}
}

// An editor has the terminal in its own modes, for the whole screen, and stops
// itself and all of its group. Its lock is held meanwhile.
func TestEditor(t *testing.T) {
	needProgram(t, "vi")
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	s := newScreen(t)
	s.shell(dir)
	s.typeIn("locker run x vi -u NONE " + file + "\n")
	s.await("file") // the command line; the next is the editor's
	s.await("file")
	s.typeIn("ihello \x1b")
	s.await("hello")
	s.interrupt("", "Type  :qa") // vim's answer to Ctrl-C, which ends nothing
	s.typeUntil(":set columns?\r", "columns=100")
	s.resize(40, 132)
	s.typeUntil(":set columns?\r", "columns=132")

	s.typeIn(ctrlZ)
	s.await("topped")
	s.wantUsable()
	s.typeIn("locker run --no-wait x true; echo held$?\n")
	s.await("held75")

	s.typeIn("fg; echo status$?\n")
	s.await("hello") // the screen is drawn anew
	s.typeIn("aworld\x1b:wq\r")
	s.await("status0")
	s.wantUsable()
	if text, err := os.ReadFile(file); err != nil || string(text) != "hello world\n" {
		t.Errorf("the editor wrote %q, %v", text, err)
	}
	s.typeIn("locker inspect x\n")
	s.await(`"x" is free`)
}

// A shell with job control makes groups of its own and gives them the terminal.
// Ctrl-C and Ctrl-Z are for these; what stops the shell stops locker too.
func TestInteractiveShell(t *testing.T) {
	for name, shell := range map[string]string{
		"bash": "bash --norc --noprofile --noediting -i",
		"sh":   "sh -i",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needProgram(t, name)
			s := newScreen(t)
			s.shell(t.TempDir())
			s.typeIn("locker run x env PS1='in''> ' " + shell + "\n")
			s.await("in> ")
			s.typeIn("echo $LOCKER_NAME\"\"lock\n")
			s.await("xlock")

			s.typeIn("sh -c 'echo be\"\"gun; exec sleep 1000'\n")
			s.await("begun")
			s.typeIn(ctrlZ)
			s.await("topped")
			s.await("in> ") // of the inner shell alone
			s.typeIn("bg\n")
			s.await("in> ")
			s.typeIn("jobs\n")
			s.await("unning")
			s.typeIn("fg\n")
			s.await("sleep")
			s.interrupt("", "in> ")
			s.typeIn("locker run --no-wait x true; echo held$?\n")
			s.await("held75")

			s.typeIn("kill -STOP $$\n")
			s.await("topped")
			s.wantUsable()
			s.typeIn("echo out\"\"side$LOCKER_NAME.\n")
			s.await("outside.")
			s.typeIn("fg; echo out\"\"er$?\n")
			s.await("locker") // the outer shell names the job
			s.typeIn("\n")
			s.await("in> ")
			s.typeIn("sh -c 'echo ag\"\"ain; exec sleep 30'\n") // the inner shell has the terminal; a job outlives it
			s.await("again")
			s.interrupt("", "in> ")

			s.typeIn("exit 5\n")
			s.await("outer5")
			s.wantUsable()
		})
	}
}

// The command hears of another size of the window, also if the terminal's
// foreground group is locker's.
func TestWindowResize(t *testing.T) {
	const command = `locker run x sh -c 'trap "stty size </dev/tty" WINCH; echo be""gun; while :; do sleep 0.05; done'`
	for name, stdin := range map[string]string{
		"reads from the terminal": "",
		"reads from elsewhere":    " </dev/null",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScreen(t)
			s.shell(t.TempDir())
			s.typeIn(command + stdin + "\n")
			s.await("begun")
			s.resize(33, 77)
			s.await("33 77")
			s.interrupt("echo she\"\"ll\n", "shell")
		})
	}
}
