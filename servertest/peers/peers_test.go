// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/stress"
)

func TestMain(m *testing.M) {
	stress.Worker(Open)
	os.Exit(m.Run())
}

// Without faults every library excludes another process, and unlocks.
func TestLock(t *testing.T) {
	t.Parallel()
	for i, p := range Peers {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			server := servertest.Shared(t, p.Store.Spec(t))
			url := p.config(i).Store.URL(server.Addr)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			t.Cleanup(cancel)
			a, b := open(ctx, t, url), open(ctx, t, url)
			name := strings.ReplaceAll(t.Name(), "/", "-")
			lease, err := a.Lock(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Lock(ctx, name, locker.NoWait()); !errors.Is(err, locker.ErrLocked) {
				t.Fatalf("another process: %v", err)
			}
			if err := a.Renew(ctx, lease); err != nil {
				t.Error(err)
			}
			if err := a.Unlock(ctx, lease); err != nil {
				t.Error(err)
			}
			if lease, err = b.Lock(ctx, name); err != nil {
				t.Fatal(err)
			}
			if err := b.Unlock(ctx, lease); err != nil {
				t.Error(err)
			}
			if lease.Err() == nil {
				t.Error("the lease lives on")
			}
		})
	}
}

func open(ctx context.Context, t *testing.T, url string) *peer {
	t.Helper()
	l, err := Open(ctx, url, 10*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.(*peer).Close() })
	return l.(*peer)
}

// TestPeers finds in each library what it is known for.
func TestPeers(t *testing.T) {
	if os.Getenv("LOCKER_FAULTS") == "" {
		t.Skip("a part of make faults alone: it takes long")
	}
	for i, p := range Peers {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if want := os.Getenv("STORE"); !strings.HasPrefix(p.Store.Name, want) {
				t.Skipf("STORE=%s", want)
			}
			cfg := p.config(i)
			cfg.Dir, cfg.Seed = "../../out/faults/peers", 1
			cfg.Time = max(25*time.Second, 3*p.Store.Promise.Reclaim)
			if text := os.Getenv("SEED"); text != "" {
				var err error
				if cfg.Seed, err = strconv.ParseUint(text, 0, 64); err != nil {
					t.Fatal(err)
				}
			}
			stress.Find(t, stress.OfPeer, p.Name+": "+p.Known, p.Checker, cfg)
		})
	}
}
