// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var selfFencing = []check{
	{
		name: "Unreachable",
		rule: "A lease's Context ends before the store gives the lock to another, without hearing from the store. Otherwise a client that is cut off goes on working beside the next holder.",
		run:  func(c *probe) { cutOff(c, BlackHole) },
	},
	{
		name: "RepliesVanish",
		rule: "A lease's Context ends by its deadline if renewals are not acknowledged, even if they reach the store. Otherwise the client believes in renewals that it never heard of.",
		run:  func(c *probe) { cutOff(c, DropReplies) },
	},
	{
		name: "RenewHangs",
		rule: "A lease's Context ends by its deadline while Renew hangs. Otherwise a driver that blocks for a minute keeps a lease alive that the store gave away.",
		run:  renewHangs,
	},
	{
		name: "G2a_SendTime",
		rule: "Grant.Until and Renewal.Until count from when the request was sent, not from when the answer came. Otherwise a lease outlives the store's expiry by the delay of the answer.",
		run:  sendTime,
	},
	{
		name: "G2b_PushedGrant",
		rule: "A grant whose news came too late is not a grant: by then the store may have given the lock to another. Otherwise a waiter that was paused at the hand-over works beside the next holder.",
		run:  pushedGrant,
	},
	{
		name: "G2c_UnlockEndsContextFirst",
		rule: "Unlock and Close end the lease's Context before they send. Otherwise the next holder begins while work under the old Context still runs.",
		run:  contextFirst,
	},
	{
		name: "G2f_Broken", needs: needBreak,
		rule: "A lock that an administrator took from its holder is told to the holder: by push or by the next renewal, within a third of the TTL. Otherwise it works on without a lock for as long as it likes.",
		run:  broken,
	},
	{
		name: "G2f_BrokenByRenew", needs: needBreak,
		rule: "Renew of a grant that an administrator took away is ErrLost. Otherwise nothing ever tells the holder.",
		run: func(c *probe) {
			p, name := c.party(), c.name("broken")
			a := p.lock(name)
			c.h.Break(stage{c}, name)
			if !c.until(c.soon(), func() bool { return errors.Is(a.renew(c.within(c.soon())), backend.ErrLost) }) {
				c.Fatalf("Renew of a grant that was deleted in the store does not return ErrLost: %v", a.renew(c.within(c.soon())))
			}
		},
	},
	{
		name: "SPILost_Once", needs: needBreak,
		rule: "Request.Lost is called at most once. Otherwise a loss is told again to whoever comes later.",
		run: func(c *probe) {
			p, name := c.party(), c.name("once")
			a := p.lock(name)
			c.h.Break(stage{c}, name)
			c.pause(c.ttl / 3)
			_ = a.renew(c.within(c.soon()))
			_ = a.Unlock(c.within(c.soon()), a.grant)
			c.pause(c.ttl / 3)
			if n := len(a.lost); n > 1 {
				c.Fatalf("Lost was called %d times for one grant", n)
			}
		},
	},
	{
		name: "SPILost_BeforeReturn", needs: needBreak,
		rule: "A grant that is lost before Lock has returned is told as well, by Lost, by Lock's own error or by the next Renew. Otherwise a loss falls between two chairs.",
		run:  lostBeforeReturn,
	},
	{
		name: "SPILost_NotByUnlock",
		rule: "An Unlock, and a Withdraw, are not told as a loss. Otherwise each normal unlock raises an alarm.",
		run: func(c *probe) {
			p := c.party()
			a, b := p.lock(c.name("unlocked")), p.lock(c.name("withdrawn"))
			a.unlock()
			p.withdraw(b.grant)
			app := c.party().application()
			lease := app.take(c.name("lease"))
			if err := app.Client.Unlock(c.ctx, lease); err != nil {
				c.late("Unlock: %v", err)
			}
			c.mustEnd(lease, c.soon(), locker.ErrUnlocked, "Unlock")
			c.pause(c.ttl / 2)
			if n := len(a.lost) + len(b.lost); n > 0 {
				c.Fatalf("Lost was called for a grant that was unlocked or withdrawn")
			}
		},
	},
}

// cutOff breaks the connection of a holder while another waits.
func cutOff(c *probe, fault Fault) {
	p, q, name := c.linked(), c.party(), c.name("cut")
	a := p.application()
	lease := a.take(name)
	if lease.Deadline().IsZero() {
		c.pass() // it never expires, so nobody else gets it
	}
	holding := &held{party: q, grant: &backend.Grant{Request: backend.Request{Name: name, TTL: c.ttl}}, until: lease.Deadline().Add(c.ttl)}
	over := ended(lease)
	w := q.wait(holding)
	p.inject(fault)
	cut := backend.Now()

	var endedAt time.Time
	select {
	case endedAt = <-over:
	case <-w.done:
		if lease.Err() == nil {
			c.Fatalf("two holders: another was granted the lock %v after the connection was cut, while the lease's Err was nil", w.held.at.Sub(cut))
		}
		endedAt = <-over
		if w.err == nil && endedAt.After(w.held.at.Add(50*time.Millisecond)) {
			c.late("the Context ended %v after another was granted the lock", endedAt.Sub(w.held.at))
		}
	case <-time.After(c.ttl + c.soon()):
		c.Fatalf("the lease's Context did not end within %v after its connection was cut; its Err is %v", c.ttl+c.soon(), lease.Err())
	}
	if late := endedAt.Sub(cut.Add(c.ttl)); late > 0 {
		c.late("the Context ended %v later than a TTL after the connection was cut", late)
	}
	if err := context.Cause(lease.Context()); !errors.Is(err, locker.ErrLost) {
		c.Fatalf("the Context's cause is %v, want ErrLost", err)
	}
	if fault == DropReplies {
		p.inject(None) // what was lost is now withdrawn
	}
	w.granted(c.reclaim(), "the holder is cut off, or has withdrawn").unlock()
}

func renewHangs(c *probe) {
	p, q, name := c.party(), c.party(), c.name("hang")
	var hang atomic.Bool
	a := p.applicationOn(&spy{Backend: p.Backend, hang: func(op string) bool { return op == "Renew" && hang.Load() }})
	hang.Store(true)
	lease := a.take(name)
	if lease.Deadline().IsZero() {
		return // it never expires, so nobody else gets it
	}
	start, over := backend.Now(), ended(lease)
	w := q.start(name)
	select {
	case <-over:
	case <-w.done:
		if w.err != nil {
			c.fail(w.err, "a waiter gave up")
		}
		if lease.Err() == nil {
			c.Fatalf("two holders: another was granted the lock while the lease's Err was nil")
		}
	case <-time.After(c.ttl + c.soon()):
		c.Fatalf("the lease's Context did not end within %v, though nothing renewed it", backend.Now().Sub(start))
	}
	if err := lease.Err(); !errors.Is(err, locker.ErrLost) {
		c.Fatalf("Err is %v, want ErrLost", err)
	}
	w.granted(c.reclaim(), "the lease was lost, and withdrawn").unlock()
}

func sendTime(c *probe) {
	p, name := c.linked(), c.name("delay")
	p.lock(c.name("other")).unlock() // connections
	delay := min(c.ttl/8, time.Second)
	p.link.Delay(delay)
	a := p.lock(name)
	if a.grant.Until.IsZero() {
		return // it never expires
	}
	limit := a.at.Add(-delay).Add(a.grant.TTL)
	if over := a.grant.Until.Sub(limit); over > 0 {
		c.Fatalf("Lock was answered after %v, and its Until is %v later than the TTL after the request can have been sent", delay, over)
	}
	for range 2 {
		start := backend.Now()
		results := p.Renew(c.within(c.soon()+3*delay), []*backend.Grant{a.grant})
		limit := backend.Now().Add(-delay).Add(a.grant.TTL)
		switch {
		case len(results) != 1 || results[0].Err != nil:
			c.late("Renew: %v", results)
		case backend.Now().Sub(start) < delay:
			c.Fatalf("Renew answered within %v over a link whose replies take %v: it made no exchange that began after the call", backend.Now().Sub(start), delay)
		case results[0].Until.After(limit):
			c.Fatalf("Renew was answered after %v, and its Until is %v later than the TTL after the request can have been sent", delay, results[0].Until.Sub(limit))
		}
	}
}

// pushedGrant breaks the first waiter's connection before the hand-over, and
// heals it after the lock has gone to the second.
func pushedGrant(c *probe) {
	p, q, r, name := c.party(), c.linked(), c.party(), c.name("push")
	a := p.hold(name)
	w := q.wait(a)
	next := r.wait(a)
	q.inject(BlackHole)
	a.unlock()
	b := next.granted(2*c.reclaim(), "the holder unlocked, and the waiter before it is cut off")
	b.keep()
	q.inject(None)
	select {
	case <-w.done:
		if w.err == nil && w.held.live() && b.live() {
			c.Fatalf("two holders: the waiter that had been cut off was granted the lock, with %v left, while the next one held it", w.held.deadline().Sub(backend.Now()))
		}
	case <-time.After(c.ttl / 2):
	}
	b.excludes(p, "after a waiter before the holder came back")
	b.unlock()
}

func contextFirst(c *probe) {
	p := c.party()
	var current atomic.Pointer[locker.Lease]
	var early atomic.Bool
	look := func(op string, _ *backend.Grant) {
		if l := current.Load(); l != nil && (op == "Unlock" || op == "Withdraw") && l.Context().Err() == nil {
			early.Store(true)
		}
	}
	a := p.applicationOn(&spy{Backend: p.Backend, before: look})
	lease := a.take(c.name("unlock"))
	current.Store(lease)
	if err := a.Client.Unlock(c.ctx, lease); err != nil {
		c.late("Unlock: %v", err)
	}
	if early.Load() {
		c.Fatalf("Unlock asked the store to release the lock before the lease's Context had ended")
	}
	current.Store(a.take(c.name("close")))
	_ = a.Client.Close()
	if early.Load() {
		c.Fatalf("Close asked the store to release the lock before the lease's Context had ended")
	}
}

func broken(c *probe) {
	a, name := c.party().application(), c.name("broken")
	lease := a.take(name)
	over := ended(lease)
	c.h.Break(stage{c}, name)
	since := backend.Now()
	bound := c.ttl/3 + c.soon()
	select {
	case <-over:
	case <-time.After(bound):
		c.late("the lease's Context did not end within %v of its lock's deletion in the store", bound)
	}
	if err := lease.Err(); !errors.Is(err, locker.ErrLost) {
		c.Fatalf("Err is %v %v after the deletion, want ErrLost", err, backend.Now().Sub(since))
	}
	if err := a.Client.Unlock(c.ctx, lease); !errors.Is(err, locker.ErrLost) {
		c.Fatalf("Unlock of a lost lease: %v, want ErrLost", err)
	}
	next := c.party().application().take(name)
	if c.info.Fencing && next.Token() <= lease.Token() {
		c.Fatalf("the token went from %d to %d", lease.Token(), next.Token())
	}
}

func lostBeforeReturn(c *probe) {
	p, q, name := c.linked(), c.party(), c.name("before")
	p.lock(c.name("other")).unlock()
	p.link.Delay(min(c.ttl/8, time.Second))
	w := p.start(name)
	// The store grants at once; the answer takes its time. Meanwhile the lock
	// is seen to be held, and is broken.
	held := c.until(c.soon(), func() bool {
		h, err := q.try(name)
		if err == nil {
			h.unlock()
		}
		return errors.Is(err, backend.ErrLocked)
	})
	if !held {
		c.late("the lock was not granted")
	}
	c.h.Break(stage{c}, name)
	p.link.Delay(0)
	if !w.returned(c.soon()) {
		return // it was broken before it was granted, and waits anew
	}
	if w.err != nil {
		return // Lock itself told it
	}
	told := c.until(c.soon(), func() bool {
		return len(w.held.lost) > 0 || errors.Is(w.held.renew(c.within(c.soon())), backend.ErrLost)
	})
	if told {
		return
	}
	// A waiter whose grant was deleted may have asked once more, and have got
	// the lock after all: then the store excludes others.
	if h, err := q.try(name); err == nil {
		h.unlock()
		c.Fatalf("the lock was deleted before Lock had returned, and neither Lost nor Renew told it")
	}
}
