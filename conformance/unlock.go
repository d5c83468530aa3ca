// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var exactUnlock = []check{
	{
		name: "Twice",
		rule: "A second Unlock is an error of its own, and touches nothing. Otherwise it frees the lock under the next holder.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("twice")
			a := p.lock(name)
			a.unlock()
			if err := p.Unlock(c.within(c.soon()), a.grant); !errors.Is(err, backend.ErrLost) {
				c.Fatalf("the second Unlock returned %v, want ErrLost", err)
			}
			app := c.party().application()
			lease := app.take(name)
			if err := app.Client.Unlock(c.ctx, lease); err != nil {
				c.late("Unlock: %v", err)
			}
			if err := app.Client.Unlock(c.ctx, lease); !errors.Is(err, locker.ErrUnlocked) {
				c.Fatalf("the second Client.Unlock returned %v, want ErrUnlocked", err)
			}
			q.mustBeFree(name, "it was unlocked")
		},
	},
	{
		name: "Successor",
		rule: "An Unlock that comes late releases its own grant, never its successor's, whether that is another client or the same. Otherwise a stale Unlock lets a third one in beside the holder.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("successor")
			a := p.lock(name)
			a.unlock()
			for _, next := range []*party{q, p} {
				b := next.hold(name)
				err := p.Unlock(c.within(c.soon()), a.grant)
				b.excludes(c.party(), "after a stale Unlock of the holder before")
				if !errors.Is(err, backend.ErrLost) {
					c.Fatalf("a stale Unlock returned %v, want ErrLost", err)
				}
				b.unlock()
			}
		},
	},
	{
		name: "AfterExpiry",
		rule: "Unlock of a grant that has expired is ErrLost, and touches nothing of the next holder's. Otherwise a paused holder frees a lock that is no longer its own.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("expired")
			a := p.lock(name)
			b := c.afterDeath(a, q)
			b.keep()
			if p.link != nil {
				p.inject(None)
			}
			err := p.Unlock(c.within(c.soon()), a.grant)
			b.excludes(c.party(), "after an Unlock of a holder whose grant had expired")
			if err == nil {
				c.Fatalf("Unlock of a grant that had expired returned nil, want ErrLost")
			}
			if p.link == nil && !errors.Is(err, backend.ErrLost) {
				c.Fatalf("Unlock of a grant that had expired returned %v, want ErrLost", err)
			}
			b.unlock()
		},
	},
	{
		name: "AfterBreak", needs: needBreak,
		rule: "Unlock of a grant that is gone is ErrLost. Otherwise nobody learns that the critical section was unguarded.",
		run: func(c *probe) {
			p, name := c.party(), c.name("gone")
			a := p.lock(name)
			c.h.Break(stage{c}, name)
			if err := p.Unlock(c.within(c.soon()), a.grant); !errors.Is(err, backend.ErrLost) {
				c.Fatalf("Unlock of a grant that an administrator deleted returned %v, want ErrLost", err)
			}
		},
	},
	{
		name: "ForeignLease",
		rule: "A lease of another Client is refused, and nothing is asked of the store. Otherwise one part of a program unlocks what another part holds.",
		run: func(c *probe) {
			p, name := c.party(), c.name("foreign")
			s := &spy{Backend: p.Backend}
			a, b := c.party().application(), p.applicationOn(s)
			lease := a.take(name)
			if err := b.Client.Unlock(c.ctx, lease); err == nil {
				c.Fatalf("Unlock of another Client's lease returned nil")
			}
			if err := b.Client.Renew(c.ctx, lease); err == nil {
				c.Fatalf("Renew of another Client's lease returned nil")
			}
			if s.count("Unlock")+s.count("Renew")+s.count("Withdraw") > 0 {
				c.Fatalf("a lease of another Client was sent to the store")
			}
			if err := lease.Err(); err != nil {
				c.late("the lease ended: %v", err)
			}
		},
	},
	{
		name: "DoneContext",
		rule: "An Unlock with a context that has ended still unlocks. Otherwise every deferred Unlock after a cancellation leaves the lock until it expires.",
		run: func(c *probe) {
			a, q, name := c.party().application(), c.party(), c.name("done")
			lease := a.take(name)
			ctx, cancel := context.WithCancel(c.ctx)
			cancel()
			if err := a.Client.Unlock(ctx, lease); err != nil {
				c.Fatalf("Client.Unlock with a cancelled context: %v", err)
			}
			q.mustBeFree(name, "it was unlocked with a context that had ended")
		},
	},
	{
		name: "G7a_LostReply",
		rule: "An Unlock whose answer was lost does not say ErrLost: the critical section was guarded to its end.",
		run: func(c *probe) {
			p, q, name := c.linked(), c.party(), c.name("reply")
			var calls atomic.Int32
			s := &spy{Backend: p.Backend, before: func(op string, _ *backend.Grant) {
				if op != "Unlock" {
					return
				}
				switch calls.Add(1) {
				case 1:
					p.inject(DropReplies)
				case 2:
					p.inject(None)
				}
			}}
			a := p.applicationOn(s)
			lease := a.take(name)
			if err := a.Client.Renew(c.ctx, lease); err != nil {
				c.late("Renew: %v", err)
			}
			deadline := lease.Deadline()
			err := a.Client.Unlock(c.ctx, lease)
			p.inject(None)
			switch {
			case !errors.Is(err, locker.ErrLost):
			case !deadline.IsZero() && backend.Now().After(deadline):
				c.late("the deadline passed before Unlock could ask again: %v", err)
			default:
				c.Fatalf("Unlock returned %v, though it was the first attempt, unanswered, that released the lock", err)
			}
			q.mustGet(name, c.reclaim(), "it was unlocked").unlock()
			c.nothing(name)
		},
	},
}
