// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"math"
)

// A target is a figure that was to be reached on every store.
type target struct {
	what  string
	value func(*Run) float64
	write func(float64) string
	holds func(float64) bool
}

func atMost(limit float64) func(float64) bool {
	return func(x float64) bool { return x <= limit }
}

func atLeast(limit float64) func(float64) bool {
	return func(x float64) bool { return x >= limit }
}

var allTargets = []target{
	{"uncontended, to the bare pair: at most 1.2", func(r *Run) float64 { return r.toLimit(ours) }, times, atMost(1.2)},
	{"uncontended, to the best peer: at most 1", func(r *Run) float64 {
		return r.toLimit(ours) / r.best(r.toLimit)
	}, times, atMost(1)},
	{"hand-over with 64 waiters, to a bare push: at most 2", func(r *Run) float64 { return r.toPush(ours) }, times, atMost(2)},
	{"requests for each hand-over with 256 waiters, to those with 2: at most 1.2", func(r *Run) float64 {
		return r.value(contended, ours, requests, 256, 0) / r.value(contended, ours, requests, 2, 0)
	}, times, atMost(1.2)},
	{"connections for 10,000 held locks: at most 4", heldValue(conns), whole, atMost(4)},
	{"goroutines for them: at most 20", heldValue(goroutines), whole, atMost(20)},
	{"batches of requests in a TTL for them: at most 10", heldValue(batches), whole, atMost(10)},
	{"bytes for each of them: at most 1,024", heldValue(bytes), whole, atMost(1024)},
	{"from a kill -9 to the next grant, to what is promised: at most 1", func(r *Run) float64 {
		record, _ := r.find(death, ours, freed, 0, 0)
		return record.Max / r.value(death, ours, reclaim, 0, 0)
	}, times, atMost(1)},
	{"Jain's index of 64 contenders: at least 0.99, where it is fair", func(r *Run) float64 {
		if r.Store == File.Name {
			return math.NaN() // not promised
		}
		return r.value(fairness, ours, jainIndex, 64, 0)
	}, func(x float64) string { return fmt.Sprintf("%.3f", x) }, atLeast(0.99)},
}

func heldValue(metric string) func(*Run) float64 {
	return func(r *Run) float64 { return r.value(held, ours, metric, 10_000, 0) }
}

func targets(runs []*Run) table {
	head := []string{""}
	for _, r := range runs {
		head = append(head, r.Store)
	}
	t := table{head}
	for _, target := range allTargets {
		row := []string{target.what}
		for _, r := range runs {
			x := target.value(r)
			switch {
			case math.IsNaN(x):
				row = append(row, none)
			case target.holds(x):
				row = append(row, target.write(x))
			default:
				row = append(row, "**"+target.write(x)+"**")
			}
		}
		t.add(row...)
	}
	return t
}

// summary is the part of the project's README.
func summary(runs []*Run) string {
	t := table{{
		"store", "lock and unlock, to the bare pair of exchanges", "best peer", "hand-over with 64 waiters, to a bare push", "best peer",
		"requests for a hand-over with 2 and 256 waiters", "connections for 10,000 held locks",
	}}
	for _, r := range runs {
		best64 := r.best(r.toPush)
		sent := none
		if few := r.value(contended, ours, requests, 2, 0); !math.IsNaN(few) {
			sent = plain(few) + ", " + plain(r.value(contended, ours, requests, 256, 0))
		}
		t.add(r.Store, times(r.toLimit(ours)), times(r.best(r.toLimit)), times(r.toPush(ours)), times(best64), sent, whole(heldValue(conns)(r)))
	}
	return t.String() + "\n![hand-over with 64 waiters, to a bare push](docs/benchmarks/handover.svg)\n"
}
