// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"runtime"
	"time"
)

const warmUp = 20

// uncontended measures a lock and its unlock by one client, on one name: all
// contestants and the limit in turn, one operation each, in a new order every
// time.
func (r *run) uncontended() {
	r.t.Helper()
	r.progress("uncontended")
	ctx, cancel := context.WithTimeout(r.t.Context(), patience+4*r.unit)
	defer cancel()
	type lane struct {
		name   string
		do     func() error
		series Series
	}
	pair, done, err := r.store.Limit.OpenPair(ctx, r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer done()
	lanes := []*lane{{name: theLimit, do: func() error { return pair(ctx) }}}
	for _, c := range r.store.contestants() {
		client, name := r.open(c, r.addr, usualTTL), r.name()
		defer func() { _ = client.Close() }()
		lanes = append(lanes, &lane{name: c.Name, do: func() error { return once(ctx, client, name) }})
	}
	for round, end := 0, time.Now().Add(4*r.unit); round < 2*warmUp || time.Now().Before(end); round++ {
		for _, i := range r.rng.Perm(len(lanes)) {
			l, began := lanes[i], time.Now()
			if err := l.do(); err != nil {
				r.t.Fatalf("bench: %s: %s: %v", r.store.Name, l.name, err)
			}
			if round >= warmUp {
				l.series.add(time.Since(began))
			}
		}
	}
	for _, l := range lanes {
		r.add(l.series.record(uncontended, l.name, lockUnlock))
		r.allocations(l.name, l.do)
	}
	for _, c := range r.store.contestants() {
		r.uncontendedRequests(ctx, c)
	}
}

// once locks and unlocks.
func once(ctx context.Context, client Client, name string) error {
	unlock, err := client.Lock(ctx, name)
	if err != nil {
		return err
	}
	return unlock()
}

// allocations counts those of the whole process, for each operation.
func (r *run) allocations(name string, do func() error) {
	const n = 100
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range n {
		if err := do(); err != nil {
			r.t.Fatalf("bench: %s: %s: %v", r.store.Name, name, err)
		}
	}
	runtime.ReadMemStats(&after)
	r.add(
		Record{Point: uncontended, Contestant: name, Metric: allocs, Value: float64(after.Mallocs-before.Mallocs) / n},
		Record{Point: uncontended, Contestant: name, Metric: bytes, Value: float64(after.TotalAlloc-before.TotalAlloc) / n},
	)
}

func (r *run) uncontendedRequests(ctx context.Context, c Contestant) {
	r.t.Helper()
	client, p := r.counted(c, usualTTL)
	defer func() { _ = client.Close() }()
	if p == nil {
		return
	}
	defer p.Close()
	const n = 100
	name := r.name()
	for range warmUp {
		r.must(c, once(ctx, client, name))
	}
	before := p.Requests()
	for range n {
		r.must(c, once(ctx, client, name))
	}
	r.add(Record{Point: uncontended, Contestant: c.Name, Metric: requests, Value: float64(p.Requests()-before) / n})
}
