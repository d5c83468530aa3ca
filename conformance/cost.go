// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var cost = []check{
	{
		name: "HandOver",
		rule: "A hand-over costs the same number of requests, however many wait. Otherwise a busy lock is a load that grows with the square of its users.",
		run: func(c *probe) {
			if c.info.Poll > 0 {
				pollers(c, 10)
				pollers(c, 34)
				return
			}
			few, many := handOver(c, 10), handOver(c, 34)
			c.Logf("requests of one hand-over: %d with 10 waiters, %d with 34", few, many)
			if many > few+10 {
				c.late("a hand-over took %d requests with 10 waiters and %d with 34", few, many)
			}
		},
	},
	{
		name: "Renewal",
		rule: "Renewals and connections do not grow with the number of locks that a client holds. Otherwise a process with many locks cannot keep them.",
		run: func(c *probe) {
			few, many := renewals(c, 1), renewals(c, 40)
			c.Logf("holding 1 lock: %+v; 40 locks: %+v", few, many)
			if many.requests > 3*few.requests+10 {
				c.late("holding 1 lock took %d requests in a TTL, holding 40 took %d", few.requests, many.requests)
			}
			if many.connections > few.connections+2 {
				c.Fatalf("holding 1 lock took %d connections, holding 40 took %d", few.connections, many.connections)
			}
			if many.goroutines > few.goroutines+10 {
				c.Fatalf("holding 1 lock took %d goroutines, holding 40 took %d", few.goroutines, many.goroutines)
			}
		},
	},
	{
		name: "Uncontended",
		rule: "A lock that nobody else wants costs a few requests, and none after it was unlocked.",
		run: func(c *probe) {
			p, name := c.linked(), c.name("alone")
			p.lock(name).unlock() // connections, a session
			least := -1
			for range 5 {
				before := p.link.Requests()
				p.mustGet(name, c.soon(), "it was unlocked").unlock()
				if n := p.link.Requests() - before; least < 0 || n < least {
					least = n
				}
			}
			c.Logf("requests of one Lock and Unlock: %d", least)
			if least > 8 {
				c.Fatalf("one Lock and Unlock of a lock that nobody else wants took %d requests, want at most 8", least)
			}
		},
	},
}

// handOver returns how many requests, of all parties together, a hand-over to
// the next of n waiters takes beyond what they send anyhow.
func handOver(c *probe, n int) int {
	name := c.name(fmt.Sprint("handover", n))
	first := c.linked()
	a := first.hold(name)
	parties, waiters := []*party{first}, []*waiter{}
	for range n {
		q := c.linked()
		parties = append(parties, q)
		waiters = append(waiters, q.wait(a))
	}
	requests := func() (sum int) {
		for _, p := range parties {
			sum += p.link.Requests()
		}
		return sum
	}
	// Whatever a client sends in a rhythm of its own is in some of the windows
	// only, or as much in those without a hand-over, which are as long.
	const rounds, window = 8, 100 * time.Millisecond
	var used, idle []int
	for range rounds {
		before, began := requests(), backend.Now()
		a.unlock()
		next := c.served(waiters)
		if next < 0 {
			c.late("no waiter was served within %v", c.soon())
		}
		if waiters[next].err != nil {
			c.fail(waiters[next].err, "a waiter gave up")
		}
		c.pause(window) // for those who are woken in vain
		used = append(used, requests()-before)
		a = waiters[next].held
		a.keep()
		waiters[next] = nil

		took := backend.Now().Sub(began)
		before = requests()
		c.pause(took)
		idle = append(idle, requests()-before)
	}
	return max(slices.Min(used)-slices.Min(idle), 0)
}

// pollers checks that while n waiters poll, and the lock goes from one to the
// next, all send no more than each of their tries would alone.
func pollers(c *probe, n int) {
	name := c.name(fmt.Sprint("pollers", n))
	a := c.linked().hold(name)
	try := refusal(c, name)
	parties, waiters := []*party{a.party}, []*waiter{}
	began, before := backend.Now(), a.link.Requests()
	for range n {
		q := c.linked()
		parties = append(parties, q)
		waiters = append(waiters, q.start(name))
	}
	const rounds = 8
	for range rounds {
		a.unlock()
		next := c.served(waiters)
		if next < 0 {
			c.late("no waiter was served within %v", c.soon())
		}
		if waiters[next].err != nil {
			c.fail(waiters[next].err, "a waiter gave up")
		}
		a = waiters[next].held
		a.keep()
		waiters[next] = nil
	}
	used, tries := -before, 1+int(backend.Now().Sub(began)/c.info.Poll)
	for _, p := range parties {
		used += p.link.Requests()
	}
	// 10: what a client sends when it starts, and what it holds the lock with.
	limit := n*(tries*try+10) + rounds*10
	c.Logf("%d waiters, %d tries each of %d requests: %d requests, at most %d", n, tries, try, used, limit)
	if used > limit {
		c.late("%d waiters that could try %d times each sent %d requests, though a try alone takes %d", n, tries, used, try)
	}
}

// refusal returns how many requests a Lock takes that finds the lock held.
func refusal(c *probe, name string) int {
	p := c.linked()
	least := -1
	for range 5 {
		before := p.link.Requests()
		if _, err := p.try(name); !errors.Is(err, backend.ErrLocked) {
			c.fail(err, "a Lock with NoWait of a lock that another holds")
		}
		if n := p.link.Requests() - before; least < 0 || n < least {
			least = n
		}
	}
	return least
}

type load struct{ requests, connections, goroutines int }

// renewals returns what holding n locks takes, for one TTL.
func renewals(c *probe, n int) load {
	p := c.linked()
	a := p.application()
	leases := make([]*locker.Lease, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			lease, err := a.Client.Lock(c.within(c.reclaim()), c.name(fmt.Sprint("renewal", n, "-", i)))
			if err != nil {
				c.failOn(err, "Lock")
			}
			leases[i] = lease
		})
	}
	all.Wait()
	c.pause(c.ttl) // until what the locking has begun is over
	before := p.link.Requests()
	c.pause(c.ttl)
	l := load{p.link.Requests() - before, p.link.Connections(), countGoroutines(c.tag)}
	for _, lease := range leases {
		if lease == nil || lease.Err() != nil {
			c.late("a lease that was renewed has ended")
		}
	}
	_ = a.Client.Close()
	return l
}
