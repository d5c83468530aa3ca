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

var exactRenew = []check{
	{
		name: "Forwards",
		rule: "Renew moves Until forwards. Otherwise a lease that is renewed ends all the same.",
		run: func(c *probe) {
			p := c.party()
			a := p.lock(c.name("forwards"))
			first := a.deadline()
			c.pause(c.ttl / 4)
			if err := a.renew(c.within(c.soon())); err != nil {
				c.late("Renew of a grant that is held: %v", err)
			}
			switch {
			case first.IsZero() != a.deadline().IsZero():
				c.Fatalf("Until was zero before the renewal or after it, but not both")
			case !first.IsZero() && !a.deadline().After(first):
				// A session whose heartbeats count late moves a little later.
				ok := c.until(c.ttl/2, func() bool { _ = a.renew(c.within(c.soon())); return a.deadline().After(first) })
				if !ok {
					c.late("Renew left Until where it was")
				}
			}
			a.unlock()
		},
	},
	{
		name: "AfterUnlock",
		rule: "Renew of a grant that was unlocked is ErrLost, and brings nothing back. Otherwise a renewal that crosses the unlock takes the lock again, for nobody.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("unlocked")
			a := p.lock(name)
			a.unlock()
			if err := a.renew(c.within(c.soon())); !errors.Is(err, backend.ErrLost) {
				c.Fatalf("Renew after Unlock returned %v, want ErrLost", err)
			}
			q.mustBeFree(name, "its holder unlocked, and then called Renew")
		},
	},
	{
		name: "AfterExpiry",
		rule: "Renew never brings back a grant that has expired, even if nobody else has the lock. Otherwise its holder had no lock for a while, and never hears of it.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("expired")
			a := p.lock(name)
			c.afterDeath(a, q).unlock()
			if p.link != nil {
				p.inject(None)
			}
			if err := a.renew(c.within(c.soon())); err == nil || p.link == nil && !errors.Is(err, backend.ErrLost) {
				c.Fatalf("Renew of a grant that had expired returned %v, want ErrLost", err)
			}
			q.mustBeFree(name, "its holder's grant had expired, and it then called Renew")
		},
	},
	{
		name: "AfterExpiryAlone",
		rule: "Renew never brings back a grant that has expired, even if nobody has asked for the lock since. Otherwise its holder had no lock for a while, and never hears of it.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("alone")
			a, twin := p.lock(name), p.lock(c.name("twin"))
			if a.grant.Until.IsZero() {
				c.pause(c.ttl * 3 / 2)
				a.excludes(q, "though it never expires")
				c.pass()
			}
			if p.link != nil {
				p.inject(BlackHole)
			}
			c.pause(c.info.Reclaim(c.ttl) + c.ttl/2)
			if p.link != nil {
				p.inject(None)
			} else if _, err := q.try(twin.grant.Name); errors.Is(err, backend.ErrLocked) {
				c.skip("the harness has no Link, and the backend keeps its session alive by itself")
			}
			err := a.renew(c.within(c.soon()))
			if err == nil {
				c.Fatalf("Renew of a grant that had expired returned nil, want ErrLost")
			}
			q.mustBeFree(name, "its holder's grant had expired, and it then called Renew")
		},
	},
	{
		name: "Successor",
		rule: "Renew of a grant that has expired changes nothing for the next holder. Otherwise two holders renew one lock, each believing that it is its own.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("successor")
			a := p.lock(name)
			b := c.afterDeath(a, q)
			b.keep()
			if p.link != nil {
				p.inject(None)
			}
			if err := a.renew(c.within(c.soon())); err == nil {
				c.Fatalf("Renew returned nil for a grant that had expired, while another held the lock")
			}
			b.excludes(c.party(), "after the former holder called Renew")
			if err := b.renew(c.within(c.soon())); err != nil {
				c.late("Renew by the holder, after the former holder's: %v", err)
			}
			b.unlock()
		},
	},
	{
		name: "Batch",
		rule: "Renew answers for each grant in its place: one that is gone costs the others nothing. Otherwise the loss of one lock is told to the holder of another.",
		run: func(c *probe) {
			p := c.party()
			groups := map[any][]*held{}
			for _, s := range []string{"1", "2", "3", "4", "5"} {
				h := p.hold(c.name(s))
				groups[h.grant.Group] = append(groups[h.grant.Group], h)
			}
			for _, of := range groups {
				gone := map[int]bool{0: true, len(of) / 2: true}
				var grants []*backend.Grant
				for i, h := range of {
					if gone[i] {
						h.unlock()
					}
					grants = append(grants, h.grant)
				}
				results := p.Renew(c.within(c.soon()), grants)
				if len(results) != len(grants) {
					c.Fatalf("Renew of %d grants returned %d results", len(grants), len(results))
				}
				for i, r := range results {
					switch {
					case gone[i] && !errors.Is(r.Err, backend.ErrLost):
						c.Fatalf("Renew of grants of which number %d was unlocked says %v of it, want ErrLost", i, r.Err)
					case !gone[i] && r.Err != nil:
						c.late("Renew of grants of which number %d is held says %v of it", i, r.Err)
					}
				}
			}
		},
	},
	{
		name: "LostReply",
		rule: "A Renew whose answer was lost says that it does not know, not that the lock is lost, and the next one succeeds. Otherwise each dropped packet costs a lock.",
		run: func(c *probe) {
			p, q := c.linked(), c.party()
			a := p.lock(c.name("reply"))
			p.inject(DropReplies)
			ctx, cancel := context.WithTimeout(c.ctx, min(c.ttl/6, time.Second))
			err := a.renew(ctx)
			cancel()
			p.inject(None)
			if !a.live() {
				c.late("Renew did not return when its context ended")
			}
			if err == nil || errors.Is(err, backend.ErrLost) {
				c.Fatalf("Renew returned %v though its answer was lost, want an error that is not ErrLost", err)
			}
			if !c.until(c.ttl/2, func() bool { err = a.renew(c.within(c.soon())); return err == nil }) {
				c.late("Renew after one whose answer was lost: %v", err)
			}
			a.excludes(q, "after a renewal whose answer was lost")
			a.unlock()
		},
	},
	{
		name: "EndedLease",
		rule: "Renew of a lease that has ended fails without asking the store. Otherwise it renews what was given up.",
		run: func(c *probe) {
			p, name := c.party(), c.name("ended")
			s := &spy{Backend: p.Backend}
			a := p.applicationOn(s)
			lease := a.take(name)
			if err := a.Client.Unlock(c.ctx, lease); err != nil {
				c.late("Unlock: %v", err)
			}
			before := s.count("Renew")
			if err := a.Client.Renew(c.ctx, lease); err == nil {
				c.Fatalf("Client.Renew of a lease that was unlocked returned nil")
			}
			if s.count("Renew") != before {
				c.Fatalf("Client.Renew of a lease that was unlocked asked the store")
			}
		},
	},
	{
		name: "G8a_ByUser",
		rule: "A lease with NoRenew lives for a TTL after each Renew by the user, and no longer.",
		run: func(c *probe) {
			a, name := c.party().application(), c.name("user")
			lease := a.take(name, locker.NoRenew())
			var last time.Time
			for range 4 {
				c.pause(c.ttl / 2)
				last = backend.Now()
				if err := a.Client.Renew(c.ctx, lease); err != nil {
					c.late("Renew of a lease with NoRenew, half a TTL after the last: %v", err)
				}
			}
			c.mustEnd(lease, c.ttl+c.soon(), locker.ErrLost, "the end of a lease with NoRenew")
			if lived := backend.Now().Sub(last); lived < c.ttl/2 {
				c.late("the lease ended %v after it was renewed, want the TTL", lived)
			}
		},
	},
}
