// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/file"
)

func openClient(t *testing.T, dir, query string) *locker.Client {
	t.Helper()
	path := filepath.ToSlash(dir)
	if path[0] != '/' {
		path = "/" + path
	}
	c, err := locker.Open(t.Context(), "file://"+path+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestHazard_F1_ClientTellsTheLoss(t *testing.T) {
	dir := t.TempDir()
	c := openClient(t, dir, "?ttl=1s")
	lease, err := c.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := file.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.Path("a")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-lease.Context().Done():
	case <-time.After(20 * time.Second):
		t.Fatal("nobody told the holder")
	}
	if err := lease.Err(); !errors.Is(err, locker.ErrLost) {
		t.Errorf("Err = %v, want ErrLost", err)
	}
	next, err := c.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if next.Token() <= lease.Token() {
		t.Errorf("token %d after %d", next.Token(), lease.Token())
	}
}

// A lease outlives its TTL by renewal and has no deadline of its own.
func TestHazard_F2_NoDeadline(t *testing.T) {
	c := openClient(t, t.TempDir(), "?ttl=100ms")
	lease, err := c.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ttls := time.NewTimer(500 * time.Millisecond)
	select {
	case <-lease.Context().Done():
		t.Fatalf("the lease ended: %v", lease.Err())
	case <-ttls.C:
	}
	if d := lease.Deadline(); !d.IsZero() {
		t.Errorf("Deadline = %v", d)
	}
}

func TestManyThroughClients(t *testing.T) {
	dir := t.TempDir()
	clients := []*locker.Client{openClient(t, dir, ""), openClient(t, dir, "")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	count := 0 // the race detector sees two holders
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			err := locker.Do(ctx, clients[i%2], "a", func(context.Context, *locker.Lease) error {
				count++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if count != 60 {
		t.Errorf("counted to %d", count)
	}
}
