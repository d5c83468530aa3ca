// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"time"
)

// Order finds a waiter that was served before one whom the store had queued
// earlier: the store had said so to the one before the other called Lock. Only
// those count who waited in peace: what was dead, paused or cut off may lose its
// place. Where the tokens of a lock went back, which Tokens finds, they tell no order.
func Order(h *History, p Promise) (found []Verdict) {
	if !p.Fair {
		return nil
	}
	queued := map[int64]time.Duration{} // last: who is queued again stands at the end
	for _, e := range h.Events {
		if e.F == Queued {
			queued[e.Op] = e.Time
		}
	}
	wrong := map[string]bool{}
	for _, v := range Tokens(h, p) {
		wrong[v.Key] = true
	}
	for _, key := range h.keys {
		if wrong[key] {
			continue
		}
		leases := h.of(key)
		for _, first := range leases {
			at, waited := queued[first.op]
			if !waited || p.Alone && h.crowded(first) || p.Grace && h.troubled("", span{first.asked - p.TTL, first.asked}) {
				continue
			}
			for _, second := range leases {
				if second.asked <= at+p.Entry || !p.before(second, first) || p.Alone && h.crowded(second) {
					continue
				}
				wait := span{first.asked, first.from}
				if h.troubled(first.client, wait) || h.troubled(second.client, wait) {
					continue
				}
				found = append(found, Verdict{Key: key, From: at, To: first.from, Text: fmt.Sprintf(
					"%s (op %d) got the lock before %s (op %d), which the store had queued %v before the other asked",
					second.client, second.op, first.client, first.op, second.asked-at)})
			}
		}
	}
	return found
}

// before says whether a was granted before b. Calls may return in another order
// than that of the grants, which is that of the tokens.
func (p Promise) before(a, b *lease) bool {
	if p.Fencing {
		return a.token < b.token
	}
	return a.from < b.from
}

// crowded says whether the lease's client had another call for the same lock
// under way while it waited, or one that it was still taking back.
func (h *History) crowded(l *lease) bool {
	for _, c := range h.calls {
		during := span{c.start.Time, c.end.Time}
		if c.end.Class == Cancelled {
			during.to = later(during.to, withdrawn)
		}
		if c.start.F == Lock && c.start.Op != l.op && c.start.Client == l.client && c.start.Key == l.key &&
			during.meets(span{l.asked, l.from}) {
			return true
		}
	}
	return false
}
