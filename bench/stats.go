// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"math"
	"slices"
	"time"
)

// A Series is what was measured of one thing, in seconds, requests, bytes.
type Series []float64

func (s *Series) add(d time.Duration) { *s = append(*s, d.Seconds()) }

// quantile returns the smallest value that a share q of all do not exceed.
func (s Series) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func (s Series) median() float64 { return s.quantile(0.5) }

func (s Series) mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s))
}

// jain is Jain's index of fairness: 1 if all have the same share, 1/n if one has
// everything.
func jain(shares []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return math.NaN()
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// bursts counts runs of instants with no gap of more than pause.
func bursts(at []time.Time, pause time.Duration) (n int) {
	sorted := slices.SortedFunc(slices.Values(at), time.Time.Compare)
	for i, t := range sorted {
		if i == 0 || t.Sub(sorted[i-1]) > pause {
			n++
		}
	}
	return n
}
