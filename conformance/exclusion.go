// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var exclusion = []check{
	{
		name: "SameClient",
		rule: "One client never gets a lock that it holds already: locks are not re-entrant. Otherwise two goroutines of one process, which share a session or a connection, work at the same time.",
		run: func(c *probe) {
			p, name := c.party(), c.name("same")
			a := p.hold(name)
			a.excludes(p, "by the client that holds it")
			w := p.wait(a)
			w.stillWaits(200*time.Millisecond, "by the client that holds it")
			a.unlock()
			w.granted(c.soon(), "the holder, of the same client, unlocked").unlock()
		},
	},
	{
		name: "SameClientLeaves",
		rule: "A waiter that gives up, of the client that holds the lock, does not make that forget it. Otherwise the client's next call is granted the lock once more, by the session or the connection that holds it.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("leaves")
			wait := func(a *held, how string) {
				first, second := p.wait(a), p.wait(a)
				first.end()
				a.excludes(p, "after a waiter of its own client gave up, "+how)
				second.end()
				a.excludes(p, "after the last waiter of its own client gave up, "+how)
				a.excludes(q, "after the waiters of its own client gave up, "+how)
			}
			free := p.hold(name)
			wait(free, "of a lock that had been free")
			w := p.wait(free)
			free.unlock()
			waited := w.granted(c.soon(), "the holder, of the same client, unlocked")
			waited.keep()
			wait(waited, "of a lock that had been waited for")
			waited.unlock()
			p.mustGet(name, c.soon(), "it was unlocked").unlock()
		},
	},
	{
		name: "TwoClients",
		rule: "Two clients never hold one lock. Otherwise two processes do at once what only one may do.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("two")
			a := p.hold(name)
			a.excludes(q, "while another client holds it")
			w := q.wait(a)
			w.stillWaits(200*time.Millisecond, "while another client holds it")
			a.excludes(q, "while another client holds it and a third waits")
			a.unlock()
			b := w.granted(c.soon(), "the holder unlocked")
			b.keep()
			b.excludes(p, "after it was handed over")
			b.unlock()
		},
	},
	{
		name: "HeldBeyondTTL",
		rule: "A lock that is renewed is nobody else's, however long it is held. Otherwise long work loses its protection half-way.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("beyond")
			a := p.hold(name)
			w := q.wait(a)
			w.stillWaits(c.ttl*5/2, "though its holder renewed it")
			a.excludes(q, "though its holder renewed it")
			a.unlock()
			w.granted(c.soon(), "the holder unlocked")
		},
	},
	{
		name: "Goroutines",
		rule: "Goroutines that share clients never hold one lock at the same time, and each gets it in the end. Otherwise a counter that the lock guards loses updates.",
		run: func(c *probe) {
			crowd(c, 2, 4, 5, c.name("crowd"))
		},
	},
	{
		name: "Contenders100", alone: true,
		rule: "A hundred contenders for one name get it one after the other, and all of them get it. Otherwise a busy lock is granted twice, or somebody waits for ever.",
		run: func(c *probe) {
			crowd(c, 4, 25, 1, c.name("hundred"))
		},
	},
	{
		name: "Names100", alone: true,
		rule: "A hundred names are held at once and handed over at once, without one name being in another's way.",
		run:  hundredNames,
	},
	{
		name: "Processes", needs: needURL,
		rule: "Processes never hold one lock at the same time. Otherwise a file that the lock guards loses updates.",
		run:  processes,
	},
	{
		name: "G1a_LateEnqueue",
		rule: "After Withdraw has returned nil, a request that was still on its way is never granted. Otherwise a lock is held by a call that ended long ago, and everybody waits for nobody.",
		run:  lateEnqueue,
	},
	{
		name: "Faults",
		rule: "While connections break again and again, there is still never more than one holder, and the lock works once they no longer break.",
		run:  faults,
	},
}

// crowd has clients × goroutines lock a name, rounds times each.
func crowd(c *probe, clients, goroutines, rounds int, name string) {
	l := &ledger{}
	var all sync.WaitGroup
	for i := range clients {
		a := c.party().application()
		if i == 0 {
			l.application = a
		}
		for range goroutines {
			all.Go(func() {
				for range rounds {
					if !l.round(a, name, time.Millisecond) {
						return
					}
				}
			})
		}
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	want := clients * goroutines * rounds
	bound := c.reclaim() + time.Duration(want)*(c.info.Poll+100*time.Millisecond)
	select {
	case <-finished:
	case <-time.After(bound):
		l.mu.Lock()
		n := l.count
		l.mu.Unlock()
		c.late("%d of %d holders were served within %v, then nobody was", n, want, bound)
	}
	if l.count != want && !c.Failed() {
		c.Fatalf("%d holders were served, want %d", l.count, want)
	}
}

func hundredNames(c *probe) {
	const n = 100
	holder, waiter := c.party().application(), c.party().application()
	leases, waiting := make([]*locker.Lease, n), make([]*pending, n)
	ctx := c.within(c.reclaim() + n*(c.info.Poll+300*time.Millisecond)) // each waiter may make a connection
	each(n, func(i int) {
		var err error
		if leases[i], err = holder.Client.Lock(ctx, c.name(fmt.Sprint(i))); err != nil {
			c.failOn(err, "Lock of one of %d names that nobody holds", n)
		}
	})
	if c.Failed() {
		return
	}
	for i := range n {
		waiting[i] = waiter.call(ctx, leases[i].Name())
		c.pause(20 * time.Millisecond) // each may make a connection, which is work
	}
	each(n, func(i int) {
		if err := holder.Client.Unlock(ctx, leases[i]); err != nil {
			c.record(failure{fmt.Sprintf("Unlock of one of %d names: %v", n, err), true})
		}
	})
	for i := range n {
		lease, err := waiter.result(waiting[i], c.reclaim(), "one of many names was unlocked")
		switch {
		case err != nil:
			c.fail(err, "Lock of one of %d names that were unlocked", n)
		case c.info.Fencing && lease.Token() <= leases[i].Token():
			c.Errorf("the token of %q went from %d to %d", lease.Name(), leases[i].Token(), lease.Token())
		}
	}
}

// each runs f(0) to f(n-1), a few at a time.
func each(n int, f func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 20)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	all.Wait()
}

func lateEnqueue(c *probe) {
	p, q, name := c.linked(), c.party(), c.name("late")
	p.lock(c.name("other")).unlock() // connections, a session
	p.inject(HoldRequests)
	sent := p.link.Requests()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	type answer struct {
		held *held
		rest *backend.Grant
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		h, g, err := p.send(ctx, p.request(name))
		answers <- answer{h, g, err}
	}()
	if !c.until(c.soon(), func() bool { return p.link.Requests() > sent }) {
		c.late("Lock sent nothing within %v", c.soon())
	}
	c.pause(100 * time.Millisecond)
	cancel()
	p.link.Sever()
	var a answer
	select {
	case a = <-answers:
	case <-time.After(backend.Linger(c.ttl) + slack):
		c.late("Lock did not return within %v of the end of its context", backend.Linger(c.ttl)+slack)
	}
	switch {
	case a.held != nil: // it came by a connection that was made after the cut
		_ = p.Unlock(c.within(c.soon()), a.held.grant)
	case a.rest != nil:
		p.withdraw(a.rest)
	}
	q.mustBeFree(name, "the only request for it was withdrawn")
	p.inject(None) // now the request arrives
	for range 5 {
		c.pause(100 * time.Millisecond)
		h, err := q.try(name)
		if err != nil {
			c.fail(err, "the lock is held by a request that arrived after its own withdrawal (Lock had returned %v)", a.err)
		}
		h.unlock()
	}
}

func faults(c *probe) {
	name := c.name("faults")
	l := &ledger{}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 3 {
		p := c.linked()
		a := p.application()
		if i == 0 {
			l.application = a
		}
		all.Go(func() { // the user
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(c.ctx, c.reclaim())
				lease, err := a.Client.Lock(ctx, name)
				cancel()
				if err != nil {
					c.pause(20 * time.Millisecond)
					continue
				}
				l.enter(lease)
				c.pause(c.ttl / 8)
				l.leave(lease)
				_ = a.Client.Unlock(c.ctx, lease)
			}
		})
		all.Go(func() { // the trouble, in a rhythm of its own for each client
			schedule := []Fault{DropReplies, None, BlackHole, None, DropRequests, None}
			for n := 0; ; n++ {
				select {
				case <-stop:
					p.link.Inject(None)
					return
				case <-time.After(c.ttl / time.Duration(5+2*i)):
				}
				if n%4 == 3 {
					p.link.Sever()
				}
				p.link.Inject(schedule[n%len(schedule)])
			}
		})
	}
	c.pause(4 * c.ttl)
	close(stop)
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(2*c.reclaim() + 15*time.Second):
		c.late("calls hang after the connections were healed")
	}
	c.party().mustGet(name, c.reclaim(), "the connections were healed and everybody unlocked").unlock()
}
