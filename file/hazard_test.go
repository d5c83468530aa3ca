// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A cleaner removes a lock file that is held: the holder is told, and the next
// one's token is larger.
func TestHazard_F1_RemovedWhileHeld(t *testing.T) {
	for name, remove := range map[string]func(t *testing.T, b *Backend){
		"file":      func(t *testing.T, b *Backend) { must(t, os.Remove(b.Path("a"))) },
		"directory": func(t *testing.T, b *Backend) { must(t, os.RemoveAll(b.dir)) },
		"renamed":   func(t *testing.T, b *Backend) { must(t, os.Rename(b.dir, b.dir+".old")) },
		"replaced": func(t *testing.T, b *Backend) {
			must(t, os.WriteFile(b.Path("a")+".new", nil, 0o600))
			must(t, os.Rename(b.Path("a")+".new", b.Path("a")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/locks"
			b1, b2 := newBackend(t, dir), newBackend(t, dir)
			lost := lock(t, b1, "a")
			kept := lock(t, b1, "b")
			remove(t, b1)

			next := lock(t, b2, "a")
			if next.Token <= lost.Token {
				t.Errorf("token %d after %d", next.Token, lost.Token)
			}
			r := b1.Renew(t.Context(), []*backend.Grant{lost, kept})
			if !errors.Is(r[0].Err, backend.ErrLost) {
				t.Errorf("Renew = %v, want ErrLost", r[0].Err)
			}
			if alone := name == "file" || name == "replaced"; alone && r[1].Err != nil {
				t.Errorf("Renew of another grant: %v", r[1].Err)
			}
			if err := b1.Unlock(t.Context(), lost); !errors.Is(err, backend.ErrLost) {
				t.Errorf("Unlock = %v, want ErrLost", err)
			}
			wantLocked(t, b1, "a")
			unlock1(t, b2, next)
		})
	}
}

// Who has opened the file before another removes it locks what excludes nobody.
// Here each holder removes the file that it holds, so that every contender
// meets this, and none may get in beside another.
func TestHazard_F1_RemovedBetweenOpenAndLock(t *testing.T) {
	b := newBackend(t, t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var holders atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 150 {
				g, err := pollHard(ctx, b)
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock", n)
				}
				holders.Add(-1)
				if err := os.Remove(b.Path("a")); err != nil {
					t.Errorf("a holder finds its lock file gone: %v", err)
				}
				if err := b.Unlock(ctx, g); !errors.Is(err, backend.ErrLost) {
					t.Errorf("Unlock = %v, want ErrLost", err)
				}
			}
		})
	}
	wg.Wait()
}

// pollHard tries without a pause, to meet a race.
func pollHard(ctx context.Context, b *Backend) (*backend.Grant, error) {
	for {
		g, err := b.Lock(ctx, request("a"))
		if !errors.Is(err, backend.ErrLocked) {
			return g, err
		}
	}
}

// flock(2) can be neither woken nor cancelled, so Lock never waits in it.
func TestHazard_F2_LockNeverWaits(t *testing.T) {
	b := newBackend(t, t.TempDir())
	if b.Info().Poll <= 0 {
		t.Fatal("the Client would not poll")
	}
	g := lock(t, b, "a")
	done := make(chan error, 1)
	go func() {
		req := request("a")
		req.NoWait = false
		_, err := b.Lock(context.Background(), req)
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, backend.ErrLocked) {
			t.Errorf("Lock = %v, want ErrLocked", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Lock waits")
	}
	unlock1(t, b, g)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
