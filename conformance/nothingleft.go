// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var nothingLeft = []check{
	{
		name: "CancelledWaiter",
		rule: "Nothing of a waiter that gave up stays in the queue, once Lock has said (nil, err) or Withdraw nil. Otherwise the lock is granted to nobody.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("cancelled")
			a := p.hold(name)
			w := q.wait(a)
			w.end()
			a.excludes(q, "after a waiter gave up")
			a.unlock()
			p.mustBeFree(name, "its only waiter had given up, and its holder unlocked")
			c.nothing(name)
		},
	},
	{
		name: "NoWait",
		rule: "A Lock with NoWait leaves nothing queued. Otherwise the lock is later granted to a call that returned long ago.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("nowait")
			a := p.hold(name)
			for range 3 {
				a.excludes(q, "to NoWait")
			}
			a.unlock()
			p.mustBeFree(name, "all others had asked with NoWait, and its holder unlocked")
			c.nothing(name)
		},
	},
	{
		name: "EndedContext",
		rule: "A Lock whose context has ended already fails, even if the lock is free, and leaves nothing.",
		run: func(c *probe) {
			a, q, name := c.party().application(), c.party(), c.name("ended")
			ctx, cancel := context.WithCancel(c.ctx)
			cancel()
			if _, err := a.Client.Lock(ctx, name); !errors.Is(err, context.Canceled) {
				c.Fatalf("Client.Lock with a cancelled context: %v, want context.Canceled", err)
			}
			q.mustBeFree(name, "the only Lock had a context that had ended")
			// The backend by itself may grant or refuse, but not in between.
			w := q.start(name)
			w.end()
			q.mustBeFree(name, "the only Lock was cancelled at once")
			c.nothing(name)
		},
	},
	{
		name: "CancelAtGrant",
		rule: "A Lock that is cancelled at the moment of its grant ends in one of three ways: granted, surely nothing, or withdrawn. Otherwise a lock is held that nobody knows of.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("moment")
			for i := range 25 {
				a := p.lock(name)
				w := q.wait(a)
				go func() {
					c.pause(time.Duration(i) * 100 * time.Microsecond)
					w.cancel(context.Canceled)
				}()
				a.unlock()
				w.end()
				p.mustBeFree(name, "its only waiter was cancelled as it was granted, and has ended")
			}
			c.nothing(name)
		},
	},
	{
		name: "ClientReturnsAtOnce",
		rule: "A Client.Lock whose context ends returns at once, whatever the store does. Otherwise a shutdown hangs on a store that does not answer.",
		run: func(c *probe) {
			p, name := c.linked(), c.name("atonce")
			a := p.application()
			a.take(c.name("other"))
			p.inject(BlackHole)
			ctx, cancel := context.WithTimeout(c.ctx, 200*time.Millisecond)
			defer cancel()
			start := backend.Now()
			call := a.call(ctx, name)
			_, err := a.result(call, slack, "its context ended after 200 ms")
			if err == nil {
				c.Fatalf("Client.Lock was granted over a dead connection")
			}
			if took := backend.Now().Sub(start); took > time.Second {
				c.late("Client.Lock returned %v after it was called, its context having ended after 200 ms", took)
			}
		},
	},
	{
		name: "Withdraw",
		rule: "Withdraw undoes whatever is left of a request: held, queued or gone; and it may be repeated. Otherwise the Client cleans up in vain, or for ever.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("withdraw")
			a := p.lock(name)
			w := q.start(name)
			c.pause(50 * time.Millisecond)
			p.withdraw(a.grant)
			b := w.granted(c.soon(), "the holder's grant was withdrawn")
			b.keep()
			p.withdraw(a.grant)
			b.excludes(p, "after the former holder's grant was withdrawn a second time")
			b.unlock()
			p.withdraw(b.grant) // of a grant that was unlocked
			p.mustBeFree(name, "its holder unlocked")
			c.nothing(name)
		},
	},
	{
		name: "WithdrawExact",
		rule: "Withdraw undoes its own request and nobody else's. Otherwise cleaning up after a failure takes the lock from the next holder.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("exact")
			a := p.lock(name)
			a.unlock()
			for _, next := range []*party{p, q} { // of the same client, and of another
				b := next.hold(name)
				p.withdraw(a.grant)
				b.excludes(c.party(), "after an older grant was withdrawn")
				b.unlock()
			}
		},
	},
	{
		name: "NewRequestAfterWithdraw",
		rule: "A withdrawal concerns one request: the next one of the same client is granted. Otherwise a client that gave up once never gets the lock again.",
		run: func(c *probe) {
			p, name := c.party(), c.name("again")
			a := p.lock(name)
			p.withdraw(a.grant)
			b := p.hold(name)
			b.excludes(c.party(), "by a client that had withdrawn before")
			b.unlock()
		},
	},
	{
		name: "G6a_LostReply",
		rule: "A Lock whose answer was lost is withdrawn, also if the store had granted it. Otherwise the lock is held by a call that failed.",
		run:  func(c *probe) { unanswered(c, DropReplies) },
	},
	{
		name: "G6a_LostRequest",
		rule: "A Lock that never reached the store ends, and leaves nothing.",
		run:  func(c *probe) { unanswered(c, DropRequests) },
	},
	{
		name: "G6a_LostReplyOfWaiter",
		rule: "A waiter that is cancelled while the store's word is lost is withdrawn, granted or not.",
		run: func(c *probe) {
			p, q, name := c.party(), c.linked(), c.name("waiter")
			a := p.hold(name)
			w := q.wait(a)
			q.inject(DropReplies)
			a.unlock()
			c.pause(50 * time.Millisecond)
			w.cancel(context.Canceled)
			if !w.returned(backend.Linger(c.ttl) + slack) {
				c.late("Lock did not return within %v of the end of its context", backend.Linger(c.ttl)+slack)
			}
			q.inject(None)
			w.end()
			p.mustBeFree(name, "its waiter was cancelled, and withdrawn")
			c.nothing(name)
		},
	},
	{
		name: "G5b_LostUnlock",
		rule: "A lock whose Unlock was not acknowledged is withdrawn in the background, though the client goes on renewing others. Otherwise it stays held for as long as the process lives.",
		run: func(c *probe) {
			p, q, name := c.linked(), c.party(), c.name("unlock")
			a := p.application()
			lease := a.take(name)
			a.take(c.name("other"))
			p.inject(DropRequests)
			start := backend.Now()
			err := a.Client.Unlock(c.ctx, lease)
			if took := backend.Now().Sub(start); took > backend.Linger(c.ttl)+slack {
				c.late("Unlock took %v over a dead connection", took)
			}
			if err == nil {
				c.Fatalf("Unlock returned nil, but its request never reached the store")
			}
			p.inject(None)
			q.mustGet(name, c.reclaim(), "its Unlock was lost, and the connection is healed").unlock()
			c.nothing(name)
		},
	},
	{
		name: "G8a_NoRenew",
		rule: "A lease with NoRenew ends a TTL after it was taken, with ErrLost, and its lock is given back. Otherwise it lives as long as the client's session.",
		run: func(c *probe) {
			a, q, name := c.party().application(), c.party(), c.name("norenew")
			start := backend.Now()
			lease := a.take(name, locker.NoRenew())
			c.mustEnd(lease, c.ttl+c.soon(), locker.ErrLost, "the end of a lease with NoRenew")
			if took := backend.Now().Sub(start); took < c.ttl/2 {
				c.late("a lease with NoRenew ended after %v, want the TTL", took)
			}
			q.mustGet(name, c.reclaim(), "a lease with NoRenew has ended").unlock()
			c.nothing(name)
		},
	},
	{
		name: "Leftovers", needs: needLeftovers,
		rule: "Unlock, expiry, cancellation and Close leave nothing in the store, but what is documented to stay.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("leftovers")
			a := p.hold(name)
			if found, err := c.h.Leftovers(c.within(c.soon()), name); err != nil || len(found) == 0 {
				c.Fatalf("Harness.Leftovers finds nothing of a lock that is held: %v %v", found, err)
			}
			w := q.wait(a)
			a.unlock()
			w.granted(c.soon(), "the holder unlocked").unlock()
			c.nothing(name)
			app := c.party().application()
			app.take(name)
			if err := app.Client.Close(); err != nil {
				c.late("Close: %v", err)
			}
			c.nothing(name)
		},
	},
}

// nothing fails if the store keeps something for the lock after it has ended.
func (c *probe) nothing(name string) {
	if c.h.Leftovers == nil {
		return
	}
	var found []string
	var err error
	ok := c.until(c.reclaim(), func() bool {
		found, err = c.h.Leftovers(c.within(c.soon()), name)
		return err == nil && len(found) == 0
	})
	if !ok {
		c.Fatalf("left in the store %v after everybody had ended: %q %v", c.reclaim(), found, err)
	}
}

// unanswered makes a Lock over a connection that swallows one direction.
func unanswered(c *probe, fault Fault) {
	p, q, name := c.linked(), c.party(), c.name("unanswered")
	p.lock(c.name("other")).unlock()
	p.inject(fault)
	w := p.start(name)
	c.pause(150 * time.Millisecond)
	w.cancel(context.Canceled)
	if w.returned(100*time.Millisecond) && w.err == nil {
		c.Fatalf("Lock was granted over a connection that swallows its exchanges")
	}
	p.inject(None) // while Lock may still be asking what became of its request
	w.end()
	q.mustBeFree(name, "the only Lock failed, and was withdrawn")
	c.nothing(name)
}
