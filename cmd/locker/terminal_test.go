// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// A screen is a pseudo-terminal and all that was written to it.
type screen struct {
	t         testing.TB
	ptmx, tty *os.File

	mu     sync.Mutex
	output bytes.Buffer
	read   int // up to where await has looked
}

func newScreen(t testing.TB) *screen {
	t.Helper()
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, ptmx: ptmx, tty: tty}
	go func() { // it ends with the last process that has the terminal
		buf := make([]byte, 4096)
		for {
			n, err := ptmx.Read(buf)
			s.mu.Lock()
			s.output.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		tty.Close()
		ptmx.Close()
	})
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// await waits until text appears behind what was awaited before.
func (s *screen) await(text string) {
	s.t.Helper()
	defer s.showIfFailed()
	eventually(s.t, "the terminal shows "+text, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := strings.Index(s.output.String()[s.read:], text)
		if i >= 0 {
			s.read += i + len(text)
		}
		return i >= 0
	})
}

func (s *screen) showIfFailed() {
	if s.t.Failed() {
		s.t.Logf("screen: %q", s.text())
	}
}

func (s *screen) typeIn(keys string) {
	s.t.Helper()
	if _, err := s.ptmx.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// interrupt presses Ctrl-C, and types what follows, until text appears. A shell
// loses a Ctrl-C that comes while it starts a process.
func (s *screen) interrupt(keys, text string) {
	s.t.Helper()
	s.typeUntil("\x03"+keys, text)
}

// typeUntil types keys until text appears, for programs that throw away what was
// typed too early.
func (s *screen) typeUntil(keys, text string) {
	s.t.Helper()
	defer s.showIfFailed()
	from := len(s.text())
	typed := time.Time{}
	eventually(s.t, "the terminal shows "+text, func() bool {
		if time.Since(typed) > time.Second {
			typed = time.Now()
			s.typeIn(keys)
		}
		return strings.Contains(s.text()[from:], text)
	})
}

const ctrlZ = "\x1a"

// shell starts an interactive shell on the screen, in a session of its own. In
// it "locker" is the command.
func (s *screen) shell(dir string) {
	s.t.Helper()
	sh := exec.CommandContext(s.t.Context(), "sh", "-i")
	if bash, err := exec.LookPath("bash"); err == nil {
		sh = exec.CommandContext(s.t.Context(), bash, "--norc", "--noprofile", "--noediting", "-i")
	}
	sh.Env = append(os.Environ(), "XDG_STATE_HOME="+dir, "TERM=xterm", "PS1=$ ", "ENV=", "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"))
	sh.Stdin, sh.Stdout, sh.Stderr = s.tty, s.tty, s.tty
	sh.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := sh.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = sh.Wait() })
	s.await("$ ")
}

func TestTerminalCtrlC(t *testing.T) {
	s := newScreen(t)
	s.shell(t.TempDir())
	s.typeIn("locker run x sh -c 'echo be\"\"gun; sleep 1000'; echo status$?\n")
	s.await("begun")
	s.interrupt("", "status130")
	s.typeIn("locker run --no-wait x sh -c 'read line; echo got$line'; echo status$?\n") // the lock is free, the terminal works
	s.typeIn("words\n")
	s.await("gotwords")
	s.await("status0")
}

// A script around locker gets the Ctrl-C too, as without locker.
func TestTerminalCtrlCInScript(t *testing.T) {
	s := newScreen(t)
	s.shell(t.TempDir())
	s.typeIn("sh -c 'trap \"echo trapp\"\"ed; exit 9\" INT; locker run x sh -c \"echo be\\\"\\\"gun; sleep 1000\"; echo fail\"\"ed'; echo status$?\n")
	s.await("begun")
	s.interrupt("", "trapped")
	s.await("status9")
}

func TestTerminalCtrlZ(t *testing.T) {
	for name, command := range map[string]string{
		"alone":                 "locker run x sh -c 'echo be\"\"gun; read a; echo got$a; read b; echo got$b; exit 3'; echo status$?",
		"in a script":           "sh -c 'locker run x sh -c \"echo be\\\"\\\"gun; read a; echo got\\$a; read b; echo got\\$b; exit 3\"; exit $?'; echo status$?",
		"twice":                 "locker run y locker run x sh -c 'echo be\"\"gun; read a; echo got$a; read b; echo got$b; exit 3'; echo status$?",
		"stdout is a pipe":      "(locker run x sh -c 'echo be\"\"gun; read a; echo got$a; read b; echo got$b; exit 3'; echo status$?) | cat",
		"asks for the terminal": "echo | locker run x sh -c 'echo be\"\"gun; read a </dev/tty; echo got$a; read b </dev/tty; echo got$b; exit 3'; echo status$?",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScreen(t)
			s.shell(t.TempDir())
			s.typeIn(command + "\n")
			s.await("begun")
			s.typeIn("one\n")
			s.await("gotone")
			s.typeIn(ctrlZ)
			s.await("topped") // Stopped
			s.typeIn("echo she\"\"ll\n")
			s.await("shell")
			s.typeIn("fg\n")
			s.await("sh") // the shell names the job
			s.typeIn("two\n")
			s.await("gottwo")
		})
	}
}

// Where no shell would continue locker, as in a container, Ctrl-Z does nothing.
func TestTerminalCtrlZWithoutShell(t *testing.T) {
	s := newScreen(t)
	c := newCall(t, t.TempDir(), "run", "x", "sh", "-c", "echo begun; read a; echo got$a")
	c.Stdin, c.Stdout, c.Stderr = s.tty, s.tty, s.tty
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	c.start()
	s.await("begun")
	s.typeIn(ctrlZ)
	s.await("^Z")
	s.typeIn("words\n")
	s.await("gotwords")
	if status := c.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

// beats grows while beat runs.
func beats(dir string) int64 {
	info, err := os.Stat(filepath.Join(dir, "beats"))
	if err != nil {
		return 0
	}
	return info.Size()
}

func beatsWithin(dir string, d time.Duration) bool {
	before := beats(dir)
	<-time.After(d)
	return beats(dir) > before
}

// Ctrl-Z stops a command that does not have the terminal too, and fg or bg
// continues it.
func TestTerminalCtrlZWithoutTheTerminal(t *testing.T) {
	dir := t.TempDir()
	s := newScreen(t)
	s.shell(dir)
	s.typeIn("locker run x beat \"$XDG_STATE_HOME\"/beats | cat\n")
	eventually(t, "the command runs", func() bool { return beats(dir) > 0 })
	for _, resume := range []string{"fg\n", "bg; echo she\"\"ll\n"} {
		s.typeIn(ctrlZ)
		s.await("topped")
		eventually(t, "the command is stopped", func() bool { return !beatsWithin(dir, 500*time.Millisecond) })
		s.typeIn(resume)
		eventually(t, "the command runs again", func() bool { return beatsWithin(dir, 100*time.Millisecond) })
	}
	s.await("shell")
	s.typeIn("kill %1; wait; echo en\"\"ded\n")
	s.await("ended")
}

// CMD3: the lock is lost while all is stopped, and the command does not run
// again.
func TestHazard_CMD3(t *testing.T) {
	for name, tt := range map[string]struct {
		flags string
		lose  func(t *testing.T, dir string)
	}{
		"the deadline passes": {"--ttl 6s --backend 'faulty://?renew=down'", func(*testing.T, string) {
			<-time.After(6 * time.Second)
		}},
		"the store knows": {"--ttl 1h", func(t *testing.T, dir string) {
			locks, err := filepath.Glob(filepath.Join(dir, "locker", "*.lock"))
			if err != nil || len(locks) != 1 {
				t.Fatalf("lock files: %v, %v", locks, err)
			}
			if err := os.Remove(locks[0]); err != nil {
				t.Fatal(err)
			}
			<-time.After(stopWithin + 100*time.Millisecond) // its timer must not let the command go on
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := newScreen(t)
			s.shell(dir)
			s.typeIn("locker run " + tt.flags + " --grace 1h x beat \"$XDG_STATE_HOME\"/beats\n")
			eventually(t, "the command runs", func() bool { return beats(dir) > 0 })
			s.typeIn(ctrlZ)
			s.await("topped")
			eventually(t, "the command is stopped", func() bool { return !beatsWithin(dir, 500*time.Millisecond) })
			before := beats(dir)
			tt.lose(t, dir)
			s.typeIn("fg; echo status$?\n")
			s.await("lost")
			s.await("status74")
			if n := beats(dir) - before; n != 0 {
				t.Errorf("the command ran on without the lock: %d bytes", n)
			}
		})
	}
}

// After the command a script around locker has the terminal again.
func TestTerminalIsTakenBack(t *testing.T) {
	s := newScreen(t)
	s.shell(t.TempDir())
	s.typeIn("sh -c 'locker run x echo be\"\"gun; read a; echo got$a'\n")
	s.await("begun")
	s.typeIn("words\n")
	s.await("gotwords")
}

// A command that is ended cannot put the terminal's modes back.
func TestTerminalModes(t *testing.T) {
	for name, end := range map[string]string{
		"lost":   `rm "$XDG_STATE_HOME"/locker/*.lock; sleep 1000`,
		"killed": `kill -KILL $$`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen(t)
			s.shell(t.TempDir())
			s.typeIn("locker run --ttl 600ms --grace 10ms x sh -c 'stty raw -echo; " + end + "'; stty -a; echo do\"\"ne\n")
			s.await("done")
			if text := s.text(); strings.Contains(text, "-icanon") || strings.Contains(text, "-echo ") || strings.Contains(text, "-opost") {
				t.Errorf("the terminal has the command's modes:\n%s", text)
			}
		})
	}
}

// In the background the command is stopped when it asks for the terminal, and
// fg gives it what it asked for.
func TestTerminalBackground(t *testing.T) {
	s := newScreen(t)
	s.shell(t.TempDir())
	s.typeIn("locker run x sh -c 'read a; echo got$a' &\n")
	s.await("$ ")
	eventually(t, "the job is stopped", func() bool {
		s.typeIn("jobs\n")
		return strings.Contains(s.text(), "topped")
	})
	s.typeIn("fg\n")
	s.typeIn("words\n")
	s.await("gotwords")
	s.typeIn("echo she\"\"ll\n")
	s.await("shell")
}

// A pager at the other end of a pipe keeps the terminal.
func TestTerminalPager(t *testing.T) {
	s := newScreen(t)
	s.shell(t.TempDir())
	s.typeIn("locker run x sh -c 'echo be\"\"gun; sleep 1000' | sh -c 'read a; echo $a; read b </dev/tty; echo got$b'\n")
	s.await("begun")
	s.typeIn("words\n")
	s.await("gotwords")
	s.interrupt("echo she\"\"ll\n", "shell") // it reaches the command by way of locker
}

// The waiting line appears on a terminal, tells who holds the lock, and is gone
// when the lock is granted.
func TestWaitingLine(t *testing.T) {
	dir := t.TempDir()
	holder, _ := hold(t, dir, "exec sleep 1000", "--note", "the holder")
	s := newScreen(t)
	waiter := newCall(t, dir, "run", "x", "echo", "granted")
	waiter.Env = append(waiter.Env, "TERM=xterm")
	waiter.Stdout, waiter.Stderr = s.tty, s.tty
	waiter.start()
	s.await("\rlocker: waiting ")
	s.await(`for "x", held by the holder`)
	s.await("\rlocker: waiting ")
	if strings.Contains(s.text(), "\n") {
		t.Errorf("more than one line: %q", s.text())
	}
	if err := holder.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.await("\r\x1b[Kgranted")
	if status := waiter.status(); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestNoWaitingLine(t *testing.T) {
	for name, tt := range map[string]struct {
		term     string
		terminal bool
		flags    []string
	}{
		"no terminal":   {"xterm", false, nil},
		"--quiet":       {"xterm", true, []string{"--quiet"}},
		"dumb terminal": {"dumb", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			hold(t, dir, "exec sleep 1000")
			s := newScreen(t)
			args := append(append([]string{"run", "--wait", "2500ms"}, tt.flags...), "x", "true")
			waiter := newCall(t, dir, args...)
			waiter.Env = append(waiter.Env, "TERM="+tt.term)
			if tt.terminal {
				waiter.Stderr = s.tty
			}
			if status := waiter.start().status(); status != exitHeld {
				t.Errorf("status %d", status)
			}
			if tt.terminal {
				s.await("another holds")
			}
			if out := s.text() + waiter.stderr.String(); strings.Contains(out, "waiting ") || strings.Contains(out, "\x1b") {
				t.Errorf("stderr %q", out)
			}
		})
	}
}
