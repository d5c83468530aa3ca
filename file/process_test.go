// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package file

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/conformance"
)

// The test binary runs itself as the other processes; this says what one does.
const roleVar = "LOCKER_FILE_TEST_ROLE"

func TestMain(m *testing.M) {
	conformance.Child()
	role := roles[os.Getenv(roleVar)]
	if role == nil {
		os.Exit(m.Run())
	}
	b, err := New(os.Getenv("LOCKER_FILE_TEST_DIR"))
	if err == nil {
		err = role(b)
	}
	if err != nil {
		fmt.Println("error", err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is done
}

// What each kind of process does before it waits for the end of its stdin.
var roles = map[string]func(*Backend) error{
	"wait": func(*Backend) error {
		fmt.Println("waiting")
		return nil
	},

	// hold locks and renews for each line of stdin.
	"hold": func(b *Backend) error {
		g, err := hold1(b)
		if err != nil {
			return err
		}
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println("renewed", b.Renew(context.Background(), []*backend.Grant{g})[0].Err)
		}
		return nil
	},

	// parent holds and has a child that knows nothing of the lock.
	"parent": func(b *Backend) error {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), roleVar+"=wait")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout
		_, err := hold1(b)
		return errors.Join(err, child.Start())
	},

	// guarded holds and gives the lock file to a child.
	"guarded": func(b *Backend) error {
		g, err := hold1(b)
		if err != nil {
			return err
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), roleVar+"=guardian")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout
		child.ExtraFiles = []*os.File{b.File(g)}
		return child.Start()
	},
	"guardian": func(*Backend) error {
		fmt.Println("guardian")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return syscall.Flock(3, syscall.LOCK_UN)
	},

	// full may write no more than a few bytes of any file.
	"full": func(b *Backend) error {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 30, Max: 30}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
		_, err := hold1(b)
		return err
	},

	// count adds 1 to a number in a plain file, 20 times.
	"count": func(b *Backend) error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		for range rounds {
			g, err := pollLock(ctx, b)
			if err != nil {
				return err
			}
			if err := addOne(b.dir, g.Token); err != nil {
				return err
			}
			if err := b.Unlock(ctx, g); err != nil {
				return err
			}
		}
		fmt.Println("done")
		return nil
	},
}

func hold1(b *Backend) (*backend.Grant, error) {
	req := backend.Request{Name: "a", Owner: "child", TTL: 100 * time.Millisecond}
	g, err := b.Lock(context.Background(), req)
	if err == nil {
		fmt.Println("token", g.Token)
	}
	return g, err
}

// addOne reads the number and the last token, and writes the number plus 1 and
// its own token.
func addOne(dir string, token int64) error {
	path := filepath.Join(dir, "number")
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var n, last int64
	if _, err := fmt.Sscan(string(data), &n, &last); err != nil && len(data) > 0 {
		return err
	}
	if token <= last {
		return fmt.Errorf("token %d after %d", token, last)
	}
	return os.WriteFile(path, fmt.Appendln(nil, n+1, token), 0o600)
}

const rounds = 20

type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Scanner
}

// start runs the test binary in a role, on the lock files in dir.
func start(t *testing.T, dir, role string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVar+"="+role, "LOCKER_FILE_TEST_DIR="+dir)
	return run(t, cmd)
}

func run(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	p := &process{t: t, cmd: cmd, stdin: stdin, out: bufio.NewScanner(stdout)}
	t.Cleanup(p.kill)
	return p
}

// says waits for a line of the process that begins with word, and returns the
// rest of it.
func (p *process) says(word string) string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("the process ended without saying %q", word)
	}
	rest, ok := strings.CutPrefix(p.out.Text(), word)
	if !ok {
		p.t.Fatalf("the process says %q, not %q", p.out.Text(), word)
	}
	return strings.TrimSpace(rest)
}

func (p *process) token() int64 {
	p.t.Helper()
	token, err := strconv.ParseInt(p.says("token"), 10, 64)
	must(p.t, err)
	return token
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(s))
}

// kill ends the process with SIGKILL, if it still runs.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.stdin.Close()
}

func TestProcessesExcludeEachOther(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, dir)
	p := start(t, dir, "hold")
	token := p.token()
	wantLocked(t, b, "a")
	if state, err := b.Inspect(t.Context(), "a"); err != nil || !state.Held || state.Token != token {
		t.Errorf("Inspect = %+v, %v, want held with token %d", state, err, token)
	}

	p.signal(syscall.SIGKILL)
	g := lockSoon(t, b)
	if g.Token <= token {
		t.Errorf("token %d after %d", g.Token, token)
	}
	if held := start(t, dir, "hold").says("error"); held != backend.ErrLocked.Error() {
		t.Errorf("another process got %q", held)
	}
}

func TestInspectAfterKill(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, dir)
	p := start(t, dir, "hold")
	p.token()
	p.kill()
	if state, err := b.Inspect(t.Context(), "a"); err != nil || state != (backend.State{Waiters: -1}) {
		t.Errorf("Inspect after the holder died = %+v, %v", state, err)
	}
}

func TestProcessesCountTogether(t *testing.T) {
	dir := t.TempDir()
	const n = 6
	var ps []*process
	for range n {
		ps = append(ps, start(t, dir, "count"))
	}
	for _, p := range ps {
		p.says("done")
	}
	data, err := os.ReadFile(filepath.Join(dir, "number"))
	must(t, err)
	if got := strings.Fields(string(data))[0]; got != strconv.Itoa(n*rounds) {
		t.Errorf("%d processes counted to %s in %d rounds each", n, got, rounds)
	}
}

// There is no TTL: a stopped holder keeps its lock, and goes on with it.
func TestHazard_F2_StoppedHolderKeepsTheLock(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, dir)
	p := start(t, dir, "hold")
	p.token()
	p.signal(syscall.SIGSTOP)
	ttls := time.NewTimer(300 * time.Millisecond) // three of the holder's
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		wantLocked(t, b, "a")
		select {
		case <-ttls.C:
			waiting = false
		case <-tick.C:
		}
	}
	p.signal(syscall.SIGCONT)
	_, err := fmt.Fprintln(p.stdin)
	must(t, err)
	if got := p.says("renewed"); got != "<nil>" {
		t.Errorf("after SIGCONT Renew = %s", got)
	}
	wantLocked(t, b, "a")
}

// A child that is being started has every descriptor until its exec: closing
// alone would leave the lock with it.
func TestHazard_F2_UnlockFreesCopies(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, dir)
	for name, release := range map[string]func(*backend.Grant) error{
		"Unlock":   func(g *backend.Grant) error { return b.Unlock(t.Context(), g) },
		"Withdraw": func(g *backend.Grant) error { return b.Withdraw(t.Context(), g) },
		"Close":    func(*backend.Grant) error { return b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			b = newBackend(t, dir)
			g := lock(t, b, "a")
			var fd int
			must(t, control(b.File(g), func(orig uintptr) (err error) {
				fd, err = syscall.Dup(int(orig))
				return err
			}))
			defer syscall.Close(fd)
			must(t, release(g))
			other := newBackend(t, dir)
			if state, err := other.Inspect(t.Context(), "a"); err != nil || state.Held {
				t.Errorf("Inspect = %+v, %v", state, err)
			}
			unlock1(t, other, lock(t, other, "a"))
		})
	}
}

func TestChildDoesNotKeepTheLock(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "parent")
	p.token()
	p.says("waiting")
	must(t, p.cmd.Process.Kill())
	lockSoon(t, newBackend(t, dir)) // while the child still reads our pipe
}

// A guardian keeps the lock of a process that was killed until it lets go.
func TestFileKeepsTheLock(t *testing.T) {
	dir := t.TempDir()
	b := newBackend(t, dir)
	p := start(t, dir, "guarded")
	p.token()
	p.says("guardian")
	must(t, p.cmd.Process.Kill())
	if _, err := p.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	wantLocked(t, b, "a")
	must(t, p.stdin.Close())
	lockSoon(t, b)
}

func TestFileOfNothing(t *testing.T) {
	b := newBackend(t, t.TempDir())
	g := lock(t, b, "a")
	unlock1(t, b, g)
	if f := b.File(g); f != nil {
		t.Errorf("File after Unlock = %v", f.Name())
	}
}

// The disk is full: nothing is held afterwards, and once there is room again
// the lock can be had.
func TestDiskFull(t *testing.T) {
	for _, before := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("after %d grants", before), func(t *testing.T) {
			dir := t.TempDir()
			b := newBackend(t, dir)
			var last int64
			for range before {
				g := lock(t, b, "a")
				last = g.Token
				unlock1(t, b, g)
			}
			said := start(t, dir, "full").says("error")
			if !strings.Contains(said, b.Path("a")) || !strings.Contains(said, syscall.EFBIG.Error()) {
				t.Errorf("it said %q", said)
			}
			g := lock(t, b, "a") // while that process lives
			if g.Token <= last {
				t.Errorf("token %d after %d", g.Token, last)
			}
		})
	}
}

func TestModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	b := newBackend(t, filepath.Join(t.TempDir(), "x", "locks"))
	lock(t, b, "a")
	for path, want := range map[string]fs.FileMode{
		filepath.Dir(b.dir): fs.ModeDir | 0o700,
		b.dir:               fs.ModeDir | 0o700,
		b.Path("a"):         0o600,
	} {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
}

// What is not a plain file in the place of a lock file is refused, and a
// symbolic link leads nowhere.
func TestOddFiles(t *testing.T) {
	for name, make := range map[string]func(path, out string) error{
		"fifo":      func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path, out string) error { return os.Symlink(out, path) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, t.TempDir())
			out := filepath.Join(t.TempDir(), "out")
			must(t, make(b.Path("a"), out))
			_, err := b.Lock(t.Context(), request("a"))
			wantSentence(t, err, b.Path("a"))
			if name == "fifo" && !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("%v does not say what is wrong", err)
			}
			if _, err := os.Lstat(out); err == nil {
				t.Error("Lock made a file outside the directory")
			}
		})
	}
}

func TestFlockError(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "a"))
	must(t, err)
	must(t, f.Close())
	if ok, err := tryLock(f); ok || err == nil {
		t.Errorf("tryLock of a closed file = %v, %v", ok, err)
	}
	if h, err := lockOpen(f.Name(), f); h != nil || err == nil {
		t.Errorf("lockOpen of a closed file = %v, %v", h, err)
	}
}

// The descriptors of failed and ended locks are closed.
func TestNoDescriptorsLeft(t *testing.T) {
	b := newBackend(t, t.TempDir())
	g := lock(t, b, "a")
	before := descriptors(t)
	for range 10 {
		wantLocked(t, b, "a")
		unlock1(t, b, lock(t, b, "b"))
		must(t, b.Withdraw(t.Context(), lock(t, b, "b")))
		if _, err := b.Inspect(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		must(t, os.WriteFile(b.Path("foreign"), []byte("x"), 0o600))
		if _, err := b.Lock(t.Context(), request("foreign")); err == nil {
			t.Fatal("foreign content is accepted")
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	unlock1(t, b, g)
}

func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/dev/fd")
	must(t, err)
	return len(files)
}

// flock(1) excludes us, and we it.
func TestFlockCommand(t *testing.T) {
	command, err := exec.LookPath("flock")
	if err != nil {
		if runtime.GOOS == "linux" {
			t.Fatal("flock(1) of util-linux is missing")
		}
		t.Skip("this system has no flock(1)")
	}
	b := newBackend(t, t.TempDir())
	p := run(t, exec.Command(command, b.Path("a"), "sh", "-c", "echo held; cat"))
	p.says("held")
	wantLocked(t, b, "a")
	must(t, p.stdin.Close())
	g := lockSoon(t, b)
	if err := exec.Command(command, "--nonblock", b.Path("a"), "true").Run(); err == nil {
		t.Error("flock(1) got a lock that we hold")
	}
	unlock1(t, b, g)
	if out, err := exec.Command(command, "--nonblock", b.Path("a"), "true").CombinedOutput(); err != nil {
		t.Errorf("flock(1) after Unlock: %v: %s", err, out)
	}
}

// The path that the package documentation computes with sha256sum.
func TestPathInShell(t *testing.T) {
	b := newBackend(t, t.TempDir())
	const name = "a name/with ä"
	cmd := exec.Command("sh", "-c", `printf %s "$NAME" | sha256sum | cut -c-64`)
	cmd.Env = append(os.Environ(), "NAME="+name)
	if runtime.GOOS != "linux" {
		cmd = exec.Command("sh", "-c", `printf %s "$NAME" | openssl dgst -sha256 -r | cut -c-64`)
		cmd.Env = append(os.Environ(), "NAME="+name)
	}
	out, err := cmd.Output()
	must(t, err)
	if want := filepath.Join(b.dir, strings.TrimSpace(string(out))+".lock"); b.Path(name) != want {
		t.Errorf("Path = %s, want %s", b.Path(name), want)
	}
}

// unwritable returns a directory in which this user cannot make a file.
func unwritable(t *testing.T) string {
	if os.Geteuid() == 0 {
		return "/proc/self" // root may write everywhere else; on Linux only
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o500))
	return dir
}
