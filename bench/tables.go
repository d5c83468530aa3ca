// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"math"
	"slices"
)

// each calls f for each contestant of each store.
func each(runs []*Run, f func(r *Run, contestant string)) {
	for _, r := range runs {
		for _, c := range r.Order {
			f(r, c)
		}
	}
}

func machines(runs []*Run) table {
	t := table{{"store", "server", "the bare pair", "the bare push", "machine", "commit", "date", "took"}}
	for _, r := range runs {
		server := r.Server
		if len(server) > 50 {
			server = server[:47] + "…"
		}
		t.add(r.Store, server, r.Pair, r.Push, r.Machine+", "+r.Go, r.Commit, r.Date, seconds(r.Took))
	}
	return t
}

func uncontendedTable(runs []*Run) table {
	t := table{{"store", "", "median", "p99", "÷ limit", "÷ best peer", "requests", "allocations", "bytes"}}
	for _, r := range runs {
		best := r.best(func(c string) float64 { return r.value(uncontended, c, lockUnlock, 0, 0) })
		for _, c := range append([]string{theLimit}, r.Order...) {
			record, _ := r.find(uncontended, c, lockUnlock, 0, 0)
			toBest := none
			if c == ours {
				toBest = times(record.Value / best)
			}
			v := func(metric string) float64 { return r.value(uncontended, c, metric, 0, 0) }
			t.add(r.Store, c, seconds(record.Value), seconds(record.P99), times(r.toLimit(c)), toBest,
				plain(v(requests)), whole(v(allocs)), whole(v(bytes)))
		}
	}
	return t
}

func handOverTable(runs []*Run) table {
	head := []string{"store", ""}
	for _, n := range waiterCounts {
		head = append(head, fmt.Sprint(n, " waiters"))
	}
	t := table{head}
	each(runs, func(r *Run, c string) {
		row := []string{r.Store, c}
		for _, n := range waiterCounts {
			over, _ := r.find(contended, c, handOver, n, 0)
			push := r.value(contended, c, barePush, n, 0)
			cell := fmt.Sprintf("%s, %s (%s)", seconds(over.Value), times(over.Value/push), times(over.P99/push))
			if sent := r.value(contended, c, requests, n, 0); !math.IsNaN(sent) {
				cell += ", " + plain(sent) + " requests"
			}
			row = append(row, cell)
		}
		t.add(row...)
	})
	return t
}

func throughputTable(runs []*Run) table {
	head := []string{"store", ""}
	for _, names := range nameCounts {
		for _, n := range goroutineCounts {
			head = append(head, fmt.Sprintf("%d on %d names", n, names))
		}
	}
	t := table{head}
	each(runs, func(r *Run, c string) {
		row := []string{r.Store, c}
		for _, names := range nameCounts {
			for _, n := range goroutineCounts {
				row = append(row, whole(r.value(throughput, c, rate, n, names)))
			}
		}
		t.add(row...)
	})
	return t
}

func heldTable(runs []*Run) table {
	t := table{{"store", "", "locks", "connections", "goroutines", "bytes for each", "requests", "batches", "of a processor"}}
	each(runs, func(r *Run, c string) {
		i := slices.IndexFunc(r.Records, func(x Record) bool { return x.Point == held && x.Contestant == c })
		if i < 0 {
			return
		}
		n := r.Records[i].N
		v := func(metric string) float64 { return r.value(held, c, metric, n, 0) }
		t.add(r.Store, c, fmt.Sprint(n), whole(v(conns)), whole(v(goroutines)), whole(v(bytes)),
			whole(v(requests)), whole(v(batches)), plain(100*v(cpu))+" %")
	})
	return t
}

func deathTable(runs []*Run) table {
	t := table{{"store", "", "TTL", "median", "longest", "promised"}}
	each(runs, func(r *Run, c string) {
		record, _ := r.find(death, c, freed, 0, 0)
		t.add(r.Store, c, seconds(r.TTL), times(record.Value/r.TTL), times(record.Max/r.TTL), times(r.value(death, c, reclaim, 0, 0)/r.TTL))
	})
	return t
}

func fairnessTable(runs []*Run) table {
	t := table{{"store", "", "Jain's index", "longest ÷ mean wait", "locks"}}
	each(runs, func(r *Run, c string) {
		record, _ := r.find(fairness, c, jainIndex, 64, 0)
		t.add(r.Store, c, fmt.Sprintf("%.3f", record.Value), plain(r.value(fairness, c, longest, 64, 0)), fmt.Sprint(record.Samples))
	})
	return t
}

func growthTable(runs []*Run) table {
	head := []string{"store"}
	for _, n := range growing {
		head = append(head, fmt.Sprint(n, " names"))
	}
	t := table{head}
	for _, r := range runs {
		row := []string{r.Store}
		for _, n := range growing {
			over, ok := r.find(growth, ours, handOver, 2, n)
			cell := fmt.Sprintf("%s, %s", seconds(over.Value), times(over.Value/r.value(growth, ours, barePush, 2, n)))
			if !ok {
				cell = none
				if stop, stops := r.find(growth, ours, stopped, 0, n); stops {
					cell = "stops: " + stop.Text
				}
			}
			row = append(row, cell)
		}
		t.add(row...)
	}
	return t
}

func lackTable(runs []*Run) table {
	t := table{{"store", "", "version", "lacks"}}
	each(runs, func(r *Run, c string) {
		if c != ours {
			t.add(r.Store, c, r.Versions[c], r.Lacks[c])
		}
	})
	return t
}
