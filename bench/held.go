// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const heldTTL = 10 * time.Second

// held measures what many locks cost that one client holds: what it keeps, and
// what it does in one TTL.
func (r *run) held() {
	r.t.Helper()
	for _, c := range r.store.contestants() {
		r.progress("%d held locks, %s", c.Holds, c.Name)
		r.hold(c, c.Holds)
	}
}

func (r *run) hold(c Contestant, n int) {
	r.t.Helper()
	ctx, cancel := r.bounded()
	defer cancel()
	client, p := r.counted(c, heldTTL)
	defer func() { _ = client.Close() }()
	if p != nil {
		defer p.Close()
	}
	base := r.name()
	r.must(c, once(ctx, client, base)) // what is there for the first lock alone
	running, kept := runtime.NumGoroutine(), heap()
	unlocks, err := lockAll(ctx, client, base, n)
	r.must(c, err)
	defer releaseAll(unlocks)
	grown := float64(heap() - kept)

	var mu sync.Mutex
	sent := make([]time.Time, 0, 100_000)
	if p != nil {
		p.Watch(func([]byte) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, time.Now())
		})
	}
	used := processor()
	began := time.Now()
	rest(heldTTL)
	share := (processor() - used).Seconds() / time.Since(began).Seconds()
	record := func(metric string, value float64) {
		r.add(Record{Point: held, Contestant: c.Name, Metric: metric, N: n, Value: value})
	}
	record(goroutines, float64(runtime.NumGoroutine()-running))
	record(bytes, grown/float64(n))
	record(cpu, share)
	if p == nil {
		return
	}
	p.Watch(nil)
	mu.Lock()
	defer mu.Unlock()
	record(requests, float64(len(sent)))
	record(batches, float64(bursts(sent, 100*time.Millisecond)))
	record(conns, float64(p.Open()))
}

// lockAll takes n locks, some at a time.
func lockAll(ctx context.Context, client Client, base string, n int) (unlocks []func() error, err error) {
	unlocks = make([]func() error, n)
	errs := make([]error, 64)
	var running sync.WaitGroup
	for worker := range errs {
		running.Go(func() {
			for i := worker; i < n && errs[worker] == nil; i += len(errs) {
				unlocks[i], errs[worker] = client.Lock(ctx, fmt.Sprint(base, "-", i))
			}
		})
	}
	running.Wait()
	for _, e := range errs {
		if e != nil {
			releaseAll(unlocks)
			return nil, e
		}
	}
	return unlocks, nil
}

// releaseAll releases what was taken, some at a time.
func releaseAll(unlocks []func() error) {
	var running sync.WaitGroup
	const workers = 64
	for worker := range workers {
		running.Go(func() {
			for i := worker; i < len(unlocks); i += workers {
				if unlocks[i] != nil {
					_ = unlocks[i]() // one that is not renewed may have ended
				}
			}
		})
	}
	running.Wait()
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one's sweep and finalizers let go
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// processor returns the processor time that this process has used.
func processor() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
