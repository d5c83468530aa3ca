// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"slices"
	"time"
)

// A span is a stretch of time.
type span struct{ from, to time.Duration }

func (s span) meets(o span) bool { return s.from < o.to && o.from < s.to }

// later adds to an instant; Forever stays.
func later(t, d time.Duration) time.Duration {
	if t > Forever-d {
		return Forever
	}
	return t + d
}

// uncovered returns the parts of s that none of the others covers.
func (s span) uncovered(by []span) (gaps []span) {
	by = slices.Clone(by)
	slices.SortFunc(by, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	from := s.from
	for _, c := range by {
		if c.from > from && from < s.to {
			gaps = append(gaps, span{from, min(c.from, s.to)})
		}
		from = max(from, c.to)
	}
	if from < s.to {
		gaps = append(gaps, span{from, s.to})
	}
	return gaps
}
