// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

var (
	goroutineCounts = []int{1, 8, 64}
	nameCounts      = []int{1, 1000}
)

// throughput measures how often one client locks and unlocks, in slices of all
// contestants in turn.
func (r *run) throughput() {
	r.t.Helper()
	const slices = 3
	lasts := max(r.unit/(2*slices), 500*time.Millisecond) // some open connections first
	for _, names := range nameCounts {
		for _, n := range goroutineCounts {
			r.progress("throughput of %d goroutines on %d names", n, names)
			contestants := r.store.contestants()
			rates := make([]Series, len(contestants))
			for range slices {
				for _, i := range r.rng.Perm(len(contestants)) {
					rates[i] = append(rates[i], r.slice(contestants[i], n, names, lasts))
				}
			}
			for i, c := range contestants {
				record := rates[i].record(throughput, c.Name, rate)
				record.N, record.Names = n, names
				r.add(record)
			}
		}
	}
}

// slice returns how many locks there were in a second.
func (r *run) slice(c Contestant, n, names int, lasts time.Duration) float64 {
	r.t.Helper()
	ctx, cancel := r.bounded()
	defer cancel()
	client, base := r.open(c, r.addr, usualTTL), r.name()
	all := make([]string, names)
	for i := range all {
		all[i] = fmt.Sprint(base, "-", i)
	}
	r.must(c, once(ctx, client, base)) // its connections are open
	work, stop := context.WithTimeout(ctx, lasts)
	defer stop()
	var done atomic.Int64
	var failure error
	var failed sync.Once
	var running sync.WaitGroup
	began := time.Now()
	for range n {
		running.Go(func() {
			for work.Err() == nil {
				err := once(work, client, all[rand.IntN(names)])
				if err != nil {
					if work.Err() == nil {
						failed.Do(func() { failure = err })
					}
					return
				}
				if work.Err() == nil {
					done.Add(1)
				}
			}
		})
	}
	over := make(chan struct{})
	go func() { defer close(over); running.Wait() }()
	<-work.Done()
	took := time.Since(began)
	rate := float64(done.Load()) / took.Seconds()
	select { // some waits end with the client alone
	case <-over:
	case <-time.After(time.Second):
	}
	_ = client.Close()
	<-over
	r.must(c, failure)
	return rate
}
