// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"slices"
	"time"
)

// Liveness finds calls of Lock that waited longer than the slack although
// nothing was in their way. In the way of a call are: a lease, from when the store
// may have granted it until the store has acknowledged its end, or for Reclaim
// after an end that the store may not know of; another call of Lock that failed, or
// whose process died, for Reclaim after it and after the fault that may have held
// it up on its way, but only to its end if it was cancelled and its client was well;
// and a fault of its own client or of the server, for Recovery after it is over.
func Liveness(h *History, p Promise) (found []Verdict) {
	for _, key := range h.keys {
		for _, c := range h.calls {
			if c.start.F != Lock || c.start.Key != key {
				continue
			}
			waited := span{c.start.Time, c.end.Time}
			if waited.to == Forever {
				waited.to = h.lastOf(c.start)
			}
			for _, gap := range waited.uncovered(h.inTheWay(c, p)) {
				if gap.to-gap.from > p.Slack {
					found = append(found, Verdict{Key: key, From: gap.from, To: gap.to, Void: h.excused(gap, p), Text: fmt.Sprintf(
						"%s (op %d) waited for %v although nobody had the lock and nothing was broken, and then %s",
						c.start.Client, c.start.Op, gap.to-gap.from, outcome(c))})
				}
			}
		}
	}
	return found
}

// excused says whether the times at which the machine stood still explain a gap:
// without them, and Recovery after each, no more than the slack is left of it.
func (h *History) excused(gap span, p Promise) bool {
	var stalls []span
	for _, w := range h.windows {
		if w.f == Stall {
			stalls = append(stalls, span{w.from, later(w.to, p.recovery())})
		}
	}
	return !slices.ContainsFunc(gap.uncovered(stalls), func(left span) bool { return left.to-left.from > p.Slack })
}

func (h *History) inTheWay(c *call, p Promise) (covers []span) {
	for _, l := range h.leases {
		if l.key != c.start.Key || l.op == c.start.Op {
			continue
		}
		cover := span{h.mayHold(l, p), l.freed}
		if l.freed == Forever {
			cover.to = later(l.end, p.Reclaim)
			if l.over != Forever { // it may have been renewed after the last look
				cover.to = later(max(l.end, l.over), p.Reclaim)
			}
		}
		covers = append(covers, cover)
	}
	for _, o := range h.calls {
		if o == c || o.start.F != Lock || o.start.Key != c.start.Key || o.end.Type == OK || o.end.Class == Locked {
			continue
		}
		if !o.ended() && !h.died(o.start) {
			continue // it waits as c does
		}
		covers = append(covers, h.lingers(o, p))
	}
	for _, w := range h.windows {
		if w.affects(c.start.Client) {
			covers = append(covers, span{w.from, later(w.to, p.recovery())})
		}
	}
	return covers
}

// mayHold returns when a lease may have begun in the store: at most the slack before
// Lock returned, unless its client was in trouble.
func (h *History) mayHold(l *lease, p Promise) time.Duration {
	from := max(l.asked, l.from-p.Slack)
	if h.troubled(l.client, span{from - p.recovery(), l.from}) {
		return l.asked
	}
	return from
}

// lingers returns the time in which a call without a lease may have something in
// the store. One that was cancelled is withdrawn at once, unless its client was in
// trouble.
func (h *History) lingers(c *call, p Promise) span {
	during := span{c.start.Time, min(c.end.Time, h.lastOf(c.start))}
	if c.end.Class == Cancelled && !h.troubled(c.start.Client, span{during.from - p.recovery(), later(during.to, p.Slack)}) {
		return during
	}
	return span{during.from, later(h.settled(c.start.Client, during.to), p.Reclaim)}
}

// lastOf returns when the process that made a call died, or the run ended.
func (h *History) lastOf(e Event) (last time.Duration) {
	last = h.Events[len(h.Events)-1].Time
	for _, w := range h.windows {
		if w.kills(e.Client, e.Time) {
			last = min(last, w.to)
		}
	}
	return last
}

// died says whether the process that made a call was killed after that.
func (h *History) died(e Event) bool {
	return slices.ContainsFunc(h.windows, func(w window) bool { return w.kills(e.Client, e.Time) })
}

func outcome(c *call) string {
	switch {
	case !c.ended():
		return "was still waiting at the end"
	case c.end.Type == OK:
		return "got it"
	}
	return "ended with: " + c.end.Class
}
