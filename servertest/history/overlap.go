// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"time"
)

// Overlap finds two clients that believe in a lease of one lock at one time. A
// client believes from the return of Lock to the first of: its call of Unlock,
// the lease's deadline, the news of its loss, its death.
func Overlap(h *History, p Promise) (found []Verdict) {
	for _, key := range h.keys {
		var last *lease
		for _, l := range h.of(key) {
			if last != nil && l.from < h.over(last, p) {
				to := min(last.end, l.end)
				found = append(found, Verdict{Key: key, From: l.from, To: to, Text: fmt.Sprintf(
					"two holders for %v: %s (op %d) got the lock with token %d while %s (op %d) held it with token %d, which %s ended",
					to-l.from, l.client, l.op, l.token, last.client, last.op, last.token, last.why)})
			}
			if last == nil || l.end > last.end {
				last = l
			}
		}
	}
	return found
}

// over returns when a lease ended: if its client's connections were ended, and it heard
// of that in time, then with them.
func (h *History) over(l *lease, p Promise) time.Duration {
	for _, w := range h.windows {
		ended := w.f == Fault && w.client == l.client && (w.class == "reset" || w.class == "refuse")
		if ended && l.why == heardOfLoss && w.from <= l.end && l.end <= w.from+p.Hearing {
			return max(l.from, w.from)
		}
	}
	return l.end
}
