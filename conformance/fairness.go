// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

var fairness = []check{
	{
		name: "Order",
		rule: "Where Info says Fair, waiters are served in the order in which the store queued them; elsewhere each is served. Otherwise somebody waits while those who came later work.",
		run: func(c *probe) {
			serveAll(c, 5, -1)
		},
	},
	{
		name: "CancelledWaiter",
		rule: "A waiter that gives up changes nothing for the others: neither their order nor their turn.",
		run: func(c *probe) {
			serveAll(c, 5, 2)
		},
	},
	{
		name: "Newcomer",
		rule: "Where Info says Fair, one that comes later does not slip in before a waiter, not even with NoWait, as the lock is handed over. Otherwise a busy lock starves those who wait for it.",
		run: func(c *probe) {
			if !c.info.Fair {
				return // not promised
			}
			p, q, r, name := c.party(), c.party(), c.party(), c.name("newcomer")
			for range 10 {
				a := p.mustGet(name, c.soon(), "it was unlocked")
				w := q.wait(a)
				a.unlock()
				newcomer, err := r.try(name)
				slipped := err == nil && !w.returned(0)
				if err == nil {
					newcomer.unlock()
				}
				b := w.granted(c.soon(), "the holder unlocked")
				if slipped && b.at.After(newcomer.at) && (!c.info.Fencing || b.grant.Token > newcomer.grant.Token) {
					c.Fatalf("NoWait was granted a lock that another was waiting for (token %d), before that one (token %d)", newcomer.grant.Token, b.grant.Token)
				}
				b.unlock()
			}
		},
	},
}

// serveAll has n waiters queue one after the other, cancels one, and unlocks
// until all were served.
func serveAll(c *probe, n, cancelled int) {
	name := c.name("order")
	a := c.party().hold(name)
	waiters := make([]*waiter, n)
	for i := range waiters {
		waiters[i] = c.party().wait(a)
	}
	if cancelled >= 0 {
		waiters[cancelled].end()
		waiters = append(waiters[:cancelled:cancelled], waiters[cancelled+1:]...)
	}
	a.unlock()
	for i := range len(waiters) {
		next := c.served(waiters)
		if next < 0 {
			c.late("%d of %d waiters were served, then nobody within %v", i, len(waiters), c.soon())
		}
		w := waiters[next]
		if w.err != nil {
			c.fail(w.err, "a waiter gave up")
		}
		if c.info.Fair && next != firstOf(waiters) {
			c.late("waiter %d was served while waiter %d, which was queued before it, still waited", next+1, firstOf(waiters)+1)
		}
		waiters[next] = nil
		w.held.unlock()
	}
}

// served waits until one of the waiters has returned.
func (c *probe) served(waiters []*waiter) int {
	next := -1
	c.until(c.soon(), func() bool {
		for i, w := range waiters {
			if w != nil && w.returned(0) {
				next = i
				return true
			}
		}
		return false
	})
	return next
}

func firstOf(waiters []*waiter) int {
	for i, w := range waiters {
		if w != nil {
			return i
		}
	}
	return -1
}
