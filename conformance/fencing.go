// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var fencing = []check{
	{
		name: "Release",
		rule: "A later grant of a name has a larger token, whichever client gets it. Otherwise a resource that checks tokens refuses the holder, or lets an old one in.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("release")
			grow := c.tokens()
			for range 10 {
				for _, x := range []*party{p, q, q} {
					h := x.mustGet(name, c.soon(), "it was unlocked")
					grow(h.grant.Token, "a release")
					h.unlock()
				}
			}
		},
	},
	{
		name: "HandOver",
		rule: "A waiter that is granted the lock has a larger token than the holder before it.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("handover")
			grow := c.tokens()
			h := p.hold(name)
			grow(h.grant.Token, "the start")
			for i := range 6 {
				w := []*party{q, p}[i%2].wait(h)
				h.unlock()
				h = w.granted(c.soon(), "the holder unlocked")
				h.keep()
				grow(h.grant.Token, "a hand-over")
			}
			h.unlock()
		},
	},
	{
		name: "Expiry",
		rule: "The token grows when a dead holder's grant expires. Otherwise the dead holder's late writes pass the check that is there to stop them.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("expiry")
			grow := c.tokens()
			for range 3 { // a store that counts in the key would start again at 1
				h := p.mustGet(name, c.soon(), "it was unlocked")
				grow(h.grant.Token, "a release")
				h.unlock()
			}
			a := p.lock(name)
			grow(a.grant.Token, "a release")
			b := c.afterDeath(a, q)
			grow(b.grant.Token, "an expiry")
			b.unlock()
		},
	},
	{
		name: "NewClients",
		rule: "The token grows across clients that come and go, and while nobody holds the lock. Otherwise a resource sees a smaller token after a deployment.",
		run: func(c *probe) {
			name := c.name("clients")
			grow := c.tokens()
			for range 4 {
				p := c.party()
				h := p.mustGet(name, c.soon(), "its holder closed")
				grow(h.grant.Token, "a new client")
				h.unlock()
				if err := p.Close(); err != nil {
					c.Errorf("Close: %v", err)
				}
				c.pause(c.ttl / 4)
			}
		},
	},
	{
		name: "Broken", needs: needBreak,
		rule: "The token grows after an administrator deleted the lock. It is what covers that case.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("broken")
			grow := c.tokens()
			for range 3 {
				h := p.mustGet(name, c.soon(), "it was unlocked or broken")
				grow(h.grant.Token, "a deletion")
				c.h.Break(stage{c}, name)
				h = q.mustGet(name, c.reclaim(), "it was deleted")
				grow(h.grant.Token, "a deletion")
				h.unlock()
			}
		},
	},
	{
		name: "Lease",
		rule: "A lease has the token of its grant, and it does not change while the lease is held. Otherwise what the application sends to its resource is not what the store gave.",
		run: func(c *probe) {
			a, name := c.party().application(), c.name("lease")
			grow := c.tokens()
			for range 3 {
				lease := a.take(name, locker.NoWait())
				grow(lease.Token(), "a release")
				token := lease.Token()
				if err := a.Client.Renew(c.ctx, lease); err != nil {
					c.late("Renew: %v", err)
				}
				if lease.Token() != token {
					c.Fatalf("the lease's token went from %d to %d by a renewal", token, lease.Token())
				}
				if err := a.Client.Unlock(c.ctx, lease); err != nil {
					c.late("Unlock: %v", err)
				}
			}
		},
	},
	{
		name: "Restart", needs: needServer,
		rule: "The token grows across a restart of a server that kept its data.",
		run: func(c *probe) {
			server := c.h.NewServer(stage{c})
			if server.Restart == nil {
				c.skip("the harness's Server has no Restart")
			}
			name := c.name("restart")
			grow := c.tokens()
			p := c.openWith(server.Open)
			for range 3 {
				h := p.lock(name)
				grow(h.grant.Token, "a release")
				h.unlock()
			}
			server.Restart()
			h := c.openWith(server.Open).mustGet(name, 2*c.reclaim()+30*time.Second, "the server is back, and nobody holds it")
			grow(h.grant.Token, "a restart")
		},
	},
}

// tokens returns a function that checks each token of one name against the one
// before it. Without Fencing each must be 0.
func (c *probe) tokens() func(token int64, after string) {
	var last int64
	return func(token int64, after string) {
		switch {
		case !c.info.Fencing && token != 0:
			c.Fatalf("Info has no Fencing, but the token is %d", token)
		case c.info.Fencing && token <= last:
			c.Fatalf("the token went from %d to %d after %s", last, token, after)
		}
		last = token
	}
}

// neverExpires ends the check if the grant has no Until: what there is to check
// is then that nobody else gets the lock while its holder lives, renewed or not.
func (h *held) neverExpires(w *waiter) {
	if h.grant.Until.IsZero() {
		w.stillWaits(h.ttl*3/2, "though it never expires")
		h.unlock()
		w.granted(h.soon(), "the holder unlocked").unlock()
		h.pass()
	}
}

// afterDeath has the holder die, as far as the suite can make it, and returns
// what q is then granted.
func (c *probe) afterDeath(a *held, q *party) *held {
	w := q.wait(a)
	a.neverExpires(w)
	if a.link != nil {
		a.inject(BlackHole)
	}
	died := backend.Now()
	if !w.returned(c.reclaim() + c.ttl) {
		if a.link == nil {
			c.skip("the harness has no Link, and the backend keeps its session alive by itself")
		}
		c.late("nobody was granted the lock within %v of its holder's death", backend.Now().Sub(died))
	}
	if w.err != nil {
		c.fail(w.err, "a waiter was not granted the lock after its holder's death")
	}
	if a.live() {
		c.Fatalf("two holders: the lock was granted %v before the holder's lease would have ended", a.deadline().Sub(backend.Now()))
	}
	return w.held
}
