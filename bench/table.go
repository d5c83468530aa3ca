// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// A table has a head and rows, in Markdown.
type table [][]string

func (t *table) add(cells ...string) { *t = append(*t, cells) }

func (t table) String() string {
	var out strings.Builder
	for i, row := range t {
		fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&out, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	return out.String()
}

const none = "–"

// times writes a multiple.
func times(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return none
	}
	return plain(x) + " ×"
}

// plain writes a number with about three digits.
func plain(x float64) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return none
	case math.Abs(x) >= 99.95:
		return fmt.Sprintf("%.0f", x)
	case math.Abs(x) >= 9.995:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

// seconds writes a duration with about three digits.
func seconds(x float64) string {
	d := time.Duration(x * float64(time.Second))
	switch {
	case math.IsNaN(x):
		return none
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", x*1e6)
	case d < time.Second:
		return plain(x*1e3) + " ms"
	}
	return plain(x) + " s"
}

// whole writes a count.
func whole(x float64) string {
	if math.IsNaN(x) {
		return none
	}
	return fmt.Sprintf("%.0f", x)
}

// value returns what was measured, or NaN.
func (r *Run) value(point, contestant, metric string, n, names int) float64 {
	record, ok := r.find(point, contestant, metric, n, names)
	if !ok {
		return math.NaN()
	}
	return record.Value
}

// best returns the least value of the peers.
func (r *Run) best(value func(contestant string) float64) float64 {
	best := math.NaN()
	for _, c := range r.Order[1:] {
		if v := value(c); math.IsNaN(best) || v < best {
			best = v
		}
	}
	return best
}

// toLimit is the time of a lock and an unlock, to the bare pair.
func (r *Run) toLimit(contestant string) float64 {
	return r.value(uncontended, contestant, lockUnlock, 0, 0) / r.value(uncontended, theLimit, lockUnlock, 0, 0)
}

// toPush is the time of a hand-over with 64 waiters, to the bare push beside it.
func (r *Run) toPush(contestant string) float64 {
	return r.value(contended, contestant, handOver, 64, 0) / r.value(contended, contestant, barePush, 64, 0)
}
