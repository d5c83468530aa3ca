// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"time"
)

// readLate is how much later than the store's answer a deadline may be looked
// at, in its own disfavour: scheduling, and the millisecond of [At].
const readLate = 5 * time.Millisecond

// Loss finds leases that promise more than a TTL less the margin, or, if nobody
// but their client renews them, more than a TTL since it did; that are believed in
// past their deadline; whose end was told so late that the store may have given
// the lock to another by then; and that were lost although nothing was wrong.
func Loss(h *History, p Promise) (found []Verdict) {
	if p.TTL == 0 {
		return nil
	}
	for _, e := range h.Events {
		if e.ValidUntil == 0 || e.F == Lost {
			continue
		}
		if longest := e.Time + p.TTL - p.margin() + readLate; e.ValidUntil > longest {
			found = append(found, Verdict{Key: e.Key, From: e.Time, To: e.ValidUntil, Text: fmt.Sprintf(
				"%s (op %d) has a lease for another %v, but a TTL of %v less the margin of %v is all that the store can have promised",
				e.Client, e.Op, e.ValidUntil-e.Time, p.TTL, p.margin())})
		}
		if e.F == Look && e.Time >= e.ValidUntil+readLate {
			found = append(found, Verdict{Key: e.Key, From: e.ValidUntil, To: e.Time, Text: fmt.Sprintf(
				"%s (op %d) believes in its lease %v after its deadline", e.Client, e.Op, e.Time-e.ValidUntil)})
		}
	}
	found = append(found, h.unrenewed(p)...)
	found = append(found, h.needless(p)...)
	for _, e := range h.Events {
		late := span{e.ValidUntil, e.Time}
		if e.F != Lost || e.ValidUntil == Forever || e.Time <= e.ValidUntil+p.margin() || h.suspended(e.Client, late) {
			continue
		}
		found = append(found, Verdict{Key: e.Key, From: late.from, To: late.to, Void: h.stalled(late), Text: fmt.Sprintf(
			"%s (op %d) was told of its loss %v after the deadline; the store may have given the lock to another %v after it",
			e.Client, e.Op, late.to-late.from, p.margin())})
	}
	return found
}

// unrenewed finds leases that outlive the last renewal by their client.
func (h *History) unrenewed(p Promise) (found []Verdict) {
	latest := map[int64]time.Duration{} // when such a lease has to end, by its Op
	for _, e := range h.Events {
		if e.F == Lock && e.Type == Invoke && e.NoRenew {
			latest[e.Op] = 0
		}
		until, noRenew := latest[e.Op]
		switch {
		case !noRenew:
		case (e.F == Lock || e.F == Renew) && e.Type == OK:
			latest[e.Op] = e.Time + p.TTL
		case e.F == Look && e.ValidUntil > until+readLate:
			found = append(found, Verdict{Key: e.Key, From: until, To: e.ValidUntil, Text: fmt.Sprintf(
				"%s (op %d) has a lease that nobody else renews for %v more than a TTL", e.Client, e.Op, e.ValidUntil-until)})
		}
	}
	return found
}

// needless finds leases that were lost although their client was well, the server
// too, and the lease was being renewed.
func (h *History) needless(p Promise) (found []Verdict) {
	noRenew := map[int64]bool{}
	for _, e := range h.Events {
		noRenew[e.Op] = noRenew[e.Op] || e.NoRenew
	}
	for _, e := range h.Events {
		// What happened a while before may be the reason as well.
		held := span{e.Time - p.TTL - p.recovery(), e.Time}
		if e.F != Lost || noRenew[e.Op] || h.troubled(e.Client, held) {
			continue
		}
		found = append(found, Verdict{Key: e.Key, From: held.from, To: held.to, Void: h.stalled(held), Text: fmt.Sprintf(
			"%s (op %d) lost its lease although nothing was wrong", e.Client, e.Op)})
	}
	return found
}

// suspended says whether the client was paused at some time of s: who does not
// run cannot be told.
func (h *History) suspended(client string, s span) bool {
	for _, w := range h.windows {
		if w.f == Pause && w.client == client && w.meets(s) {
			return true
		}
	}
	return false
}
