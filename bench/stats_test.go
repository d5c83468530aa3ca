// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"math"
	"testing"
	"time"
)

func TestSeries(t *testing.T) {
	var s Series
	for i := 100; i > 0; i-- {
		s = append(s, float64(i))
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := s.mean(); got != 50.5 {
		t.Errorf("the mean is %v", got)
	}
	if !math.IsNaN(Series(nil).median()) {
		t.Error("nothing has a median")
	}
}

func TestJain(t *testing.T) {
	for _, c := range []struct {
		shares []float64
		want   float64
	}{{[]float64{3, 3, 3, 3}, 1}, {[]float64{8, 0, 0, 0}, 0.25}, {[]float64{1, 3}, 0.8}} {
		if got := jain(c.shares); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v: %v, want %v", c.shares, got, c.want)
		}
	}
	if !math.IsNaN(jain([]float64{0, 0})) {
		t.Error("nobody had anything, and it was fair")
	}
}

func TestBursts(t *testing.T) {
	now := time.Now()
	at := func(ms ...int) (all []time.Time) {
		for _, m := range ms {
			all = append(all, now.Add(time.Duration(m)*time.Millisecond))
		}
		return all
	}
	for want, times := range map[int][]time.Time{0: nil, 1: at(0, 90, 180), 2: at(300, 0, 10), 3: at(0, 200, 400)} {
		if got := bursts(times, 100*time.Millisecond); got != want {
			t.Errorf("%d bursts, want %d", got, want)
		}
	}
}
