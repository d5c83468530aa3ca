// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var cleanEnd = []check{
	{
		name: "Close",
		rule: "Close unlocks what is held, ends every Context and every waiting Lock, and may be repeated. Otherwise each deployment waits for the TTL of what the old process held.",
		run: func(c *probe) {
			p, q := c.party(), c.party()
			held1, held2, wanted := c.name("1"), c.name("2"), c.name("wanted")
			other := q.hold(wanted)
			a := p.application()
			l1, l2 := a.take(held1), a.take(held2)
			call := a.callBehind(c.ctx, other)
			if err := a.Client.Close(); err != nil {
				c.late("Close: %v", err)
			}
			_, err := a.result(call, slack, "its Client was closed")
			c.granted(err, other)
			if !errors.Is(err, locker.ErrClosed) {
				c.Fatalf("a Lock that waited returned %v after Close, want ErrClosed", err)
			}
			for _, l := range []*locker.Lease{l1, l2} {
				c.mustEnd(l, slack, locker.ErrUnlocked, "Close")
			}
			q.mustBeFree(held1, "its holder was closed")
			q.mustBeFree(held2, "its holder was closed")
			if err := a.Client.Close(); err != nil {
				c.Fatalf("the second Close: %v", err)
			}
			other.excludes(c.party(), "after a client that waited for it was closed")
			other.unlock()
			c.party().mustBeFree(wanted, "its holder unlocked, and its waiter was closed")
			c.nothing(held1)
			c.nothing(wanted)
		},
	},
	{
		name: "Goroutines",
		rule: "Close leaves no goroutine behind. Otherwise a program that opens clients again and again grows without end.",
		run: func(c *probe) {
			// A probe within the probe, so that the harness's own goroutines
			// end before the count.
			before := countGoroutines(c.tag)
			inner, name := newProbe(c.suite, c.id), c.name("goroutines")
			c.Cleanup(inner.end)
			p := &party{c, inner.party().Backend, nil}
			a := p.application()
			lease := a.take(name)
			call := a.call(c.ctx, name)
			c.pause(100 * time.Millisecond)
			_ = a.Client.Unlock(c.ctx, lease)
			if second, err := a.result(call, c.soon(), "the holder unlocked"); err == nil {
				_ = a.Client.Renew(c.ctx, second)
			}
			if _, err := a.Client.Lock(c.ctx, name, locker.MaxWait(50*time.Millisecond)); err == nil {
				c.Fatalf("the lock was granted twice to one client")
			}
			_ = a.Client.Close()
			inner.end()
			left := func() int { return countGoroutines(c.tag) - before }
			if !c.until(5*time.Second, func() bool { return left() <= 0 }) {
				c.Fatalf("%d goroutines are left after Close:\n%s", left(), goroutines(c.tag))
			}
		},
	},
	{
		name: "Connections",
		rule: "Close leaves no connection behind. Otherwise the server runs out of them.",
		run: func(c *probe) {
			p, q, name := c.linked(), c.party(), c.name("connections")
			other := q.hold(name)
			a := p.application()
			a.take(c.name("held"))
			call := a.callBehind(c.ctx, other)
			_ = a.Client.Close()
			_, _ = a.result(call, slack, "its Client was closed")
			if !c.until(5*time.Second, func() bool { return p.link.Connections() == 0 }) {
				c.Fatalf("%d connections are open after Close", p.link.Connections())
			}
			other.unlock()
		},
	},
	{
		name: "CloseUnreachable",
		rule: "Close ends within 10 s though the store does not answer, and the store frees the lock by itself. Otherwise a shutdown hangs, or its locks stay.",
		run: func(c *probe) {
			p, q, name := c.linked(), c.party(), c.name("unreachable")
			a := p.application()
			lease := a.take(name)
			p.inject(BlackHole)
			start := backend.Now()
			_ = a.Client.Close()
			if took := backend.Now().Sub(start); took > 10*time.Second+slack {
				c.late("Close took %v", took)
			}
			c.mustEnd(lease, slack, locker.ErrUnlocked, "Close")
			p.inject(None)
			q.mustGet(name, c.reclaim(), "its holder was closed while it was cut off").unlock()
		},
	},
}
