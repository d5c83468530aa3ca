// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"runtime"
	"strconv"
	"testing"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessionstore"
	"github.com/golocker/locker/memory"
)

// free is a backend that grants everything and keeps nothing: what is measured
// is the Client's.
type free struct{}

func (free) Info() backend.Info { return memory.New().Info() }

func (free) Lock(_ context.Context, req backend.Request) (*backend.Grant, error) {
	return granted(req, backend.Now().Add(req.TTL)), nil
}

func (free) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	return renewAll(ctx, grants)
}

func (free) Unlock(context.Context, *backend.Grant) error   { return nil }
func (free) Withdraw(context.Context, *backend.Grant) error { return nil }
func (free) Close() error                                   { return nil }

// BenchmarkHeldLease reports how many bytes a held lease keeps. The store's
// own, in the same process, are in the figures of memory and sessionstore; none
// has none.
func BenchmarkHeldLease(b *testing.B) {
	for name, newBackend := range map[string]func() backend.Backend{
		"none":         func() backend.Backend { return free{} },
		"memory":       func() backend.Backend { return memory.New() },
		"sessionstore": func() backend.Backend { return sessionstore.NewStore().NewBackend() },
	} {
		b.Run(name, func(b *testing.B) {
			const n = 10_000
			var bytes int64
			for b.Loop() {
				c, err := locker.New(newBackend(), quiet)
				if err != nil {
					b.Fatal(err)
				}
				leases := make([]*locker.Lease, n)
				before := heap()
				for i := range leases {
					if leases[i], err = c.Lock(b.Context(), strconv.Itoa(i)); err != nil {
						b.Fatal(err)
					}
				}
				bytes += heap() - before
				runtime.KeepAlive(leases)
				c.Close()
			}
			b.ReportMetric(float64(bytes)/float64(b.N)/n, "B/lease")
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's sweep and finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkLockUnlock(b *testing.B) {
	for name, newBackend := range map[string]func() backend.Backend{
		"none":   func() backend.Backend { return free{} },
		"memory": func() backend.Backend { return memory.New() },
	} {
		b.Run(name, func(b *testing.B) {
			c, err := locker.New(newBackend(), quiet)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ReportAllocs()
			for b.Loop() {
				lease, err := c.Lock(b.Context(), "x")
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Unlock(b.Context(), lease); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
