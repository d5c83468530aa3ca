// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"time"

	"github.com/golocker/locker/backend"
)

var liveness = []check{
	{
		name: "Push",
		rule: "A waiter is woken by the unlock, within a few round trips, and not by a timer (unless Info has Poll). Otherwise each hand-over of a busy lock costs seconds.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("push")
			const rounds = 8
			var fastest time.Duration
			for i := range rounds {
				a := p.mustGet(name, c.soon(), "it was unlocked")
				w := q.wait(a)
				start := backend.Now()
				a.unlock()
				b := w.granted(c.soon(), "the holder unlocked")
				if took := b.at.Sub(start); i == 0 || took < fastest {
					fastest = took
				}
				b.unlock()
			}
			if limit := 2*c.info.Poll + 250*time.Millisecond; fastest > limit {
				c.late("of %d hand-overs the fastest took %v, want at most %v", rounds, fastest, limit)
			}
		},
	},
	{
		name: "NoLostWakeUp",
		rule: "A waiter whose enqueueing crosses the unlock is woken all the same. Otherwise it waits for ever for a lock that nobody holds.",
		run:  crossing,
	},
	{
		name: "CancelledWaiter",
		rule: "A waiter that gave up delays nobody, be it the first or in the middle. Otherwise one impatient client stops the queue.",
		run: func(c *probe) {
			p, q, r, name := c.party(), c.party(), c.party(), c.name("cancelled")
			a := p.hold(name)
			first, second, third := q.wait(a), q.wait(a), r.wait(a)
			second.end()
			first.end()
			third.stillWaits(200*time.Millisecond, "after the waiters before it gave up, while the lock was held")
			a.unlock()
			third.granted(c.soon(), "the waiters before it gave up, and the holder unlocked").unlock()
		},
	},
	{
		name: "CancelAtGrant",
		rule: "A waiter that gives up at the moment of its grant passes the lock on. Otherwise the wake-up is lost with it, and the next waits for ever.",
		run: func(c *probe) {
			p, q, r, name := c.party(), c.party(), c.party(), c.name("moment")
			for i := range 12 {
				a := p.mustGet(name, c.soon(), "it was unlocked")
				w, next := q.wait(a), r.wait(a)
				go func() {
					c.pause(time.Duration(i*i) * 100 * time.Microsecond)
					w.cancel(context.Canceled)
				}()
				a.unlock()
				w.end()
				next.granted(c.soon(), "the one before it gave up as it was granted").unlock()
			}
		},
	},
	{
		name: "DeadHolder",
		rule: "A dead holder keeps the lock for at most Info.Reclaim, and until its lease has ended. Otherwise the lock stays lost, or is taken from one that lives.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("dead")
			c.afterDeath(p.lock(name), q).unlock()
		},
	},
	{
		name: "G5a_GivenUpSession",
		rule: "What its client gave up is never renewed again, even if the connection heals before the store's expiry. Otherwise a session lives on with locks that nobody holds.",
		run:  givenUp,
	},
	{
		name: "G5c_DeadMiddleWaiter",
		rule: "A dead waiter delays those behind it by at most Info.Reclaim. Otherwise one crash in the queue stops all.",
		run: func(c *probe) {
			p, q, r := c.party(), c.linked(), c.party()
			a, b := p.hold(c.name("dying")), p.hold(c.name("dead"))
			q.wait(a)
			q.wait(b)
			behindDying, behindDead := r.wait(a), r.wait(b)
			q.inject(BlackHole)
			a.unlock()
			behindDying.granted(2*c.reclaim(), "the waiter before it died just before the holder unlocked").unlock()
			c.pause(c.info.Reclaim(c.ttl))
			b.unlock()
			behindDead.granted(c.reclaim(), "the waiter before it had died long before the holder unlocked").unlock()
		},
	},
	{
		name: "G5c_DeadMiddleWaiterEarly",
		rule: "A dead waiter lets nobody in early: when it vanishes from the queue, the holder is still the holder. Otherwise the one behind it, woken by that, joins the holder.",
		run: func(c *probe) {
			p, q, r, name := c.party(), c.linked(), c.party(), c.name("early")
			a := p.hold(name)
			q.wait(a)
			last := r.wait(a)
			q.inject(BlackHole)
			last.stillWaits(c.info.Reclaim(c.ttl)+c.ttl, "when the waiter before it died, while the holder held")
			a.unlock()
			last.granted(c.reclaim(), "the holder unlocked").unlock()
		},
	},
	{
		name: "WaiterOutlivesReset",
		rule: "A waiter whose connection was reset waits on and is served. Otherwise a failover ends every wait, or leaves waiters that nobody wakes.",
		run:  func(c *probe) { outage(c, func(p *party) { p.link.Sever() }, func(*party) {}) },
	},
	{
		name: "WaiterOutlivesOutage",
		rule: "A waiter that was cut off for a while waits on and is served, even if the hand-over fell into the outage.",
		run: func(c *probe) {
			outage(c, func(p *party) { p.inject(BlackHole) }, func(p *party) {
				c.pause(c.ttl / 6) // so that a session survives it
				p.inject(None)
			})
		},
	},
	{
		name: "ResetAtEachStep",
		rule: "After a reset at any step, Lock, Renew and Unlock end soon, and the lock can be had again. Otherwise a reset leaves a lock that nobody holds.",
		run:  resets,
	},
	{
		name: "KilledHolder", needs: needURL,
		rule: "A process that is killed keeps its lock for at most Info.Reclaim.",
		run:  killedHolder,
	},
	{
		name: "KilledWaiter", needs: needURL,
		rule: "A process that is killed while it waits delays those behind it by at most Info.Reclaim, and lets nobody in early.",
		run:  killedWaiter,
	},
	{
		name: "StoppedHolder", needs: needURL,
		rule: "A process that is stopped past its deadline finds its lease lost when it goes on, and touches nothing of the next holder's.",
		run:  stoppedHolder,
	},
	{
		name: "ServerPaused", needs: needServer,
		rule: "While the server is paused leases end in time, and the lock works again when it goes on.",
		run:  serverPaused,
	},
	{
		name: "ServerRestarted", needs: needServer,
		rule: "After a restart of a server that kept its data there are no two holders, and the lock works.",
		run:  func(c *probe) { serverRestarted(c, true) },
	},
	{
		name: "ServerWiped", needs: needServer,
		rule: "A server that lost its data is told to the holders in time, and the lock works again.",
		run:  func(c *probe) { serverRestarted(c, false) },
	},
}

// crossing hands a lock to and fro so that enqueueing and unlocking meet.
func crossing(c *probe) {
	p, q, name := c.party(), c.party(), c.name("crossing")
	a := p.lock(name)
	for i := range 60 {
		w := []*party{q, p}[i%2].start(name)
		if d := i % 6; d > 0 {
			c.pause(time.Duration(d*d) * 50 * time.Microsecond)
		}
		a.unlock()
		a = w.granted(c.soon(), "the holder unlocked as it was being queued")
	}
	a.unlock()
}

// givenUp loses the store's answers, so that the holder's lease ends while the
// store has a session that lives: what the client sent has extended it.
func givenUp(c *probe) {
	p, q, name := c.linked(), c.party(), c.name("givenup")
	a := p.lock(name)
	if a.grant.Until.IsZero() {
		c.pass() // it is not renewed
	}
	if err := a.renew(c.within(c.soon())); err != nil {
		c.late("Renew: %v", err)
	}
	p.inject(DropReplies)
	w := q.wait(a)
	c.pause(a.deadline().Sub(backend.Now()) + c.margin()/3)
	p.inject(None)
	b := w.granted(c.reclaim(), "the holder's lease had ended, and nothing renews it")
	b.keep()
	if err := a.renew(c.within(c.soon())); err == nil {
		c.Fatalf("Renew of a grant that had expired succeeded")
	}
	b.excludes(q, "after the former holder came back")
	b.unlock()
}

// outage breaks a waiter's connection twice: while it waits, and around the
// hand-over.
func outage(c *probe, begin, end func(*party)) {
	p, q, name := c.party(), c.linked(), c.name("outage")
	a := p.hold(name)
	app := q.application()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	call := app.callBehind(ctx, a)
	begin(q)
	end(q)
	select {
	case <-call.done:
		if call.err == nil {
			a.doubled(a.live(), "to a waiter whose connection broke")
		}
		c.Fatalf("Client.Lock ended because its connection broke while it waited: %v", call.err)
	case <-time.After(300 * time.Millisecond):
	}
	begin(q)
	a.unlock()
	end(q)
	_, err := app.result(call, 2*c.reclaim(), "its connection broke, and the holder unlocked")
	if err != nil {
		c.Fatalf("Client.Lock ended because its connection broke while it waited: %v", err)
	}
}

func resets(c *probe) {
	p, q, name := c.linked(), c.party(), c.name("resets")
	a := p.application()
	for i := range 9 {
		// Before the exchange, and a moment into it.
		sever := func() { p.link.Sever() }
		if i%3 > 0 {
			sever = func() {
				go func() {
					c.pause(time.Duration(i%3) * 200 * time.Microsecond)
					p.link.Sever()
				}()
			}
		}
		if i < 3 {
			sever()
		}
		lease, err := a.Client.Lock(c.within(c.reclaim()), name)
		if err == nil {
			if i >= 3 && i < 6 {
				sever()
				_ = a.Client.Renew(c.within(c.soon()), lease)
			}
			if i >= 6 {
				sever()
			}
			_ = a.Client.Unlock(c.ctx, lease)
		}
		q.mustGet(name, c.reclaim(), "its holder's connection was reset, and it unlocked").unlock()
	}
}
