// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

func newBackend(t *testing.T, dir string) *Backend {
	t.Helper()
	b, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

var owners atomic.Int64

func request(name string) backend.Request {
	return backend.Request{
		Name:  name,
		Owner: fmt.Sprintf("owner-%d", owners.Add(1)),
		Note:  "note of " + name,
		TTL:   time.Second,
	}
}

func lock(t *testing.T, b *Backend, name string) *backend.Grant {
	t.Helper()
	g, err := b.Lock(t.Context(), request(name))
	if err != nil {
		t.Fatalf("Lock(%q): %v", name, err)
	}
	return g
}

func unlock1(t *testing.T, b *Backend, g *backend.Grant) {
	t.Helper()
	if err := b.Unlock(t.Context(), g); err != nil {
		t.Fatalf("Unlock(%q): %v", g.Name, err)
	}
}

func wantLocked(t *testing.T, b *Backend, name string) {
	t.Helper()
	if g, err := b.Lock(t.Context(), request(name)); !errors.Is(err, backend.ErrLocked) || g != nil {
		t.Fatalf("Lock(%q) of a lock that another holds = %v, %v, want ErrLocked", name, g, err)
	}
}

// lockSoon polls for lock a, as the Client does.
func lockSoon(t *testing.T, b *Backend) *backend.Grant {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	g, err := pollLock(ctx, b)
	if err != nil {
		t.Fatalf("polling Lock: %v", err)
	}
	return g
}

func pollLock(ctx context.Context, b *Backend) (*backend.Grant, error) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		g, err := b.Lock(ctx, request("a"))
		if !errors.Is(err, backend.ErrLocked) {
			return g, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func renew(t *testing.T, b *Backend, g *backend.Grant) error {
	t.Helper()
	return b.Renew(t.Context(), []*backend.Grant{g})[0].Err
}

func TestLockUnlock(t *testing.T) {
	b := newBackend(t, t.TempDir())
	first := lock(t, b, "a")
	if !first.Until.IsZero() {
		t.Errorf("Until = %v; a file lock does not expire", first.Until)
	}
	wantLocked(t, b, "a")
	other := lock(t, b, "b")
	if err := renew(t, b, first); err != nil {
		t.Errorf("Renew: %v", err)
	}
	unlock1(t, b, first)
	if err := b.Unlock(t.Context(), first); !errors.Is(err, backend.ErrLost) {
		t.Errorf("second Unlock = %v, want ErrLost", err)
	}
	if err := renew(t, b, first); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Renew after Unlock = %v, want ErrLost", err)
	}

	second := lock(t, b, "a")
	if second.Token <= first.Token {
		t.Errorf("token %d after %d", second.Token, first.Token)
	}
	if err := b.Unlock(t.Context(), first); !errors.Is(err, backend.ErrLost) {
		t.Errorf("Unlock of the former grant = %v, want ErrLost", err)
	}
	wantLocked(t, b, "a")
	unlock1(t, b, second)
	unlock1(t, b, other)
}

func TestLockEndedContext(t *testing.T) {
	b := newBackend(t, filepath.Join(t.TempDir(), "locks"))
	cause := errors.New("no more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if g, err := b.Lock(ctx, request("a")); g != nil || !errors.Is(err, cause) {
		t.Errorf("Lock with an ended context = %v, %v", g, err)
	}
	if _, err := os.Stat(b.dir); err == nil {
		t.Error("Lock with an ended context made the directory")
	}
}

// flock(2) excludes open file descriptions, not processes: two Backends and
// many goroutines of one process need one each.
func TestExclusionInOneProcess(t *testing.T) {
	dir := t.TempDir()
	b1, b2 := newBackend(t, dir), newBackend(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	var holders, last atomic.Int64
	var wg sync.WaitGroup
	for i := range 6 {
		b := []*Backend{b1, b2}[i%2]
		wg.Go(func() {
			for range 20 {
				g, err := pollLock(ctx, b)
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				if old := last.Swap(g.Token); old >= g.Token {
					t.Errorf("token %d after %d", g.Token, old)
				}
				holders.Add(-1)
				if err := b.Unlock(ctx, g); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWithdraw(t *testing.T) {
	b := newBackend(t, t.TempDir())
	g := lock(t, b, "a")
	for range 2 {
		if err := b.Withdraw(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	next := lock(t, b, "a")
	if err := b.Withdraw(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	wantLocked(t, b, "a")
	unlock1(t, b, next)

	never := &backend.Grant{Request: request("a")}
	if err := b.Withdraw(t.Context(), never); err != nil {
		t.Errorf("Withdraw of what was never granted: %v", err)
	}
}

func TestClose(t *testing.T) {
	dir := t.TempDir()
	b1, b2 := newBackend(t, dir), newBackend(t, dir)
	grants := []*backend.Grant{lock(t, b1, "a"), lock(t, b1, "b")}
	for range 2 {
		if err := b1.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range grants {
		lock(t, b2, g.Name)
		if err := b1.Unlock(t.Context(), g); !errors.Is(err, backend.ErrLost) {
			t.Errorf("Unlock after Close = %v, want ErrLost", err)
		}
		if err := b1.Withdraw(t.Context(), g); err != nil {
			t.Errorf("Withdraw after Close: %v", err)
		}
		wantLocked(t, b2, g.Name)
	}
	if _, err := b1.Lock(t.Context(), request("c")); !errors.Is(err, errClosed) {
		t.Errorf("Lock after Close = %v", err)
	}
	lock(t, b2, "c")
}

// G11a.
func TestNamesStayInTheDirectory(t *testing.T) {
	root := t.TempDir()
	b := newBackend(t, filepath.Join(root, "locks"))
	names := []string{
		"a", "A", "a ", "a/b", "a/", "/a", "/", ".", "..", "../a", "../../etc/passwd", "a/../b", `..\a`, "~", "%2e%2e",
		"\n", "a\nb", "\x00", "\x01\x7f", "ä", "a\u0308", "\u202e", "con", "NUL", "C:", strings.Repeat("n", 512), strings.Repeat("../", 170),
	}
	for _, name := range names {
		g := lock(t, b, name)
		if !strings.HasPrefix(b.Path(name), b.dir+string(filepath.Separator)) {
			t.Errorf("%q: path %q", name, b.Path(name))
		}
		if state, err := b.Inspect(t.Context(), name); err != nil || state.Token != g.Token {
			t.Errorf("Inspect(%q) = %+v, %v", name, state, err)
		}
	}
	files, err := os.ReadDir(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !regexp.MustCompile(`^[0-9a-f]{64}\.lock$`).MatchString(f.Name()) {
			t.Errorf("file %q", f.Name())
		}
	}
	if len(files) != len(names) {
		t.Errorf("%d files for %d names", len(files), len(names))
	}
	if above, _ := os.ReadDir(root); len(above) != 1 {
		t.Errorf("beside the directory: %v", above)
	}
}

func TestLongestContent(t *testing.T) {
	b := newBackend(t, t.TempDir())
	req := request(strings.Repeat("\x01", 512))
	req.Note = strings.Repeat("\x01", 1024)
	if _, err := b.Lock(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if state, err := b.Inspect(t.Context(), req.Name); err != nil || state.Note != req.Note {
		t.Errorf("Inspect = %+v, %v", state, err)
	}
}

func TestInspect(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "locks")
	b := newBackend(t, dir)
	free := backend.State{Waiters: -1}
	inspect := func() backend.State {
		t.Helper()
		state, err := b.Inspect(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	if got := inspect(); got != free {
		t.Errorf("before the first Lock: %+v", got)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("Inspect made the directory")
	}

	for range 2 { // the second grant is in the other slot
		before := time.Now()
		g := lock(t, b, "a")
		got := inspect()
		if !got.Held || got.Note != g.Note || got.Token != g.Token || got.Waiters != -1 {
			t.Errorf("held: %+v, want those of %+v", got, g)
		}
		if got.Since.Before(before.Round(0)) || got.Since.After(time.Now()) {
			t.Errorf("since %v, locked after %v", got.Since, before)
		}
		unlock1(t, b, g)
		if got := inspect(); got != free {
			t.Errorf("unlocked: %+v", got)
		}
	}
}

// Who looks must not make a contender hear "held by another" of a free lock.
func TestInspectDisturbsNobody(t *testing.T) {
	b := newBackend(t, t.TempDir())
	unlock1(t, b, lock(t, b, "a"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.Inspect(context.Background(), "a"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	defer wg.Wait()
	defer close(stop)
	for range 300 {
		unlock1(t, b, lock(t, b, "a"))
	}
}

func TestUnfitDirectory(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{
		"a file":       plain,
		"below a file": filepath.Join(plain, "locks"),
		"unwritable":   unwritable(t),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, dir)
			_, err := b.Lock(t.Context(), request("a"))
			wantSentence(t, err, dir)
			wantSentence(t, b.prepare(), dir)
		})
	}
}

func wantSentence(t *testing.T, err error, path string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error = %v, want one line with %s", err, path)
		return
	}
	if errors.Is(err, backend.ErrLocked) || errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("%v is not a refusal", err)
	}
	t.Log(err)
}

func TestPrepareLeavesOnlyTheDirectory(t *testing.T) {
	b := newBackend(t, filepath.Join(t.TempDir(), "a", "b"))
	if err := b.prepare(); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(b.dir); err != nil || len(files) != 0 {
		t.Errorf("left in the directory: %v, %v", files, err)
	}
}

func TestNewRefusesRelative(t *testing.T) {
	for _, dir := range []string{"", "locks", "./locks", "../locks"} {
		if b, err := New(dir); err == nil {
			t.Errorf("New(%q) = %v", dir, b)
		}
	}
}

func TestInfo(t *testing.T) {
	info := newBackend(t, t.TempDir()).Info()
	if info.Name != "file" || !info.Fencing || info.Fair || info.Poll <= 0 {
		t.Errorf("Info = %+v", info)
	}
	if r := info.Reclaim(info.MaxTTL); r != info.Reclaim(info.MinTTL) || r < info.Poll {
		t.Errorf("Reclaim = %v, want one that does not depend on the TTL", r)
	}
}
