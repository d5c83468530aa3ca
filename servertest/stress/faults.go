// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/golocker/locker/servertest/history"
	"github.com/golocker/locker/servertest/proxy"
)

// A Fault is one thing that goes wrong, once or for a while.
type Fault struct {
	Name string
	Text string // for the documents

	server bool             // it meets all clients, so nothing else goes wrong meanwhile
	once   bool             // it comes once in a run
	wanted func(phase) bool // if set, it comes while somebody is as wanted
	inject func(r *run, rng *rand.Rand) injected
}

// Faults are all of them: of processes, of their network, of a server, of a cluster.
var Faults = []Fault{
	PauseHolder, PauseWaiter, KillHolder, KillWaiter,
	Partition, CutGranted, LoseRequests, LoseReplies, LateReply, LateGrant, Vanish, HoldRequest, Reset, Refuse, HangUp, Delay,
	PauseServer, KillServer, RestartServer, EmptyServer, EndSessions, ClockForward, ClockBack,
	KillLeader, CutLeader, IsolateLeader, PauseLeader, RollingRestart, StaleFailover, Promote, CutPromote,
}

// injected is a fault while it lasts: the last of its steps heals it.
type injected struct {
	client string // whom it meets; empty: all
	steps  []step
	told   bool                 // the history has it already, as more than a fault
	left   func() time.Duration // if set, for how long a step that is due is put off
}

// A step is what is done some time after the one before.
type step struct {
	after time.Duration
	do    func()
}

// during is a fault that is healed after some time.
func during(client string, lasts time.Duration, heal func()) injected {
	return injected{client: client, steps: []step{{lasts, heal}}}
}

// once is a fault that was over when it had happened.
func once() injected { return during("", 0, func() {}) }

// The faults of a process and of its network.
var (
	PauseHolder = Fault{Name: "pause-holder", Text: "a holder is paused (SIGSTOP) past its TTL, and goes on", inject: func(r *run, rng *rand.Rand) injected {
		// Every other time between reading the registers and writing to them, else anywhere.
		lasts := between(rng, r.reclaim()*5/4, r.reclaim()*7/4)
		return r.pause(r.pick(rng, r.holding), lasts, r.counts["pause-holder"]%2 == 0)
	}}
	PauseWaiter = Fault{Name: "pause-waiter", Text: "a waiter is paused, and goes on", inject: func(r *run, rng *rand.Rand) injected {
		return r.pause(r.pick(rng, r.waiting), between(rng, r.TTL/4, r.reclaim()*3/2), false)
	}}
	KillHolder = Fault{Name: "kill-holder", Text: "a holder's process is killed (SIGKILL)", inject: func(r *run, rng *rand.Rand) injected {
		return r.kill(r.pick(rng, r.holding), rng)
	}}
	KillWaiter = Fault{Name: "kill-waiter", Text: "a waiter's process is killed", inject: func(r *run, rng *rand.Rand) injected {
		return r.kill(r.pick(rng, r.waiting), rng)
	}}

	Partition = Fault{Name: "partition", Text: "a client is cut off from the server, both ways, past its TTL", inject: func(r *run, rng *rand.Rand) injected {
		return r.link(rng, between(rng, r.TTL/2, r.reclaim()*3/2), (*proxy.Proxy).BlackHole)
	}}
	CutGranted = Fault{Name: "cut-granted", Text: "a client is cut off just when it has got a lock", wanted: justGranted, inject: func(r *run, rng *rand.Rand) injected {
		c := r.pick(rng, justGranted)
		r.links(c, (*proxy.Proxy).BlackHole)
		return during(c, r.reclaim()*5/4, func() { r.links(c, r.healLink) })
	}}
	LoseRequests = Fault{Name: "lose-requests", Text: "what a client sends is lost", inject: func(r *run, rng *rand.Rand) injected {
		return r.link(rng, between(rng, r.TTL/4, r.reclaim()), r.losing(proxy.ToServer, (*proxy.Proxy).DropRequests))
	}}
	LoseReplies = Fault{Name: "lose-replies", Text: "what a client is sent is lost: requests are carried out, and it does not hear of it", inject: func(r *run, rng *rand.Rand) injected {
		return r.link(rng, between(rng, r.TTL/4, r.reclaim()), r.losing(proxy.ToClient, (*proxy.Proxy).DropReplies))
	}}
	LateReply = Fault{Name: "late-reply", Text: "a holder's replies are late, nearly too late; after its first renewal it is cut off", wanted: justGranted, inject: func(r *run, rng *rand.Rand) injected {
		return r.lateReply(rng)
	}}
	LateGrant = Fault{Name: "late-grant", Text: "a waiter's replies are late, nearly too late; it is cut off as soon as it has got its lock", inject: func(r *run, rng *rand.Rand) injected {
		return r.lateGrant(rng)
	}}
	Vanish = Fault{Name: "vanish", Text: "a client's machine is gone: its process dies, and the server never hears of it", inject: func(r *run, rng *rand.Rand) injected {
		return r.vanish(r.pick(rng, r.holding))
	}}
	HoldRequest = Fault{Name: "hold-request", Text: "one request is held back, and let through after its client gave up", inject: func(r *run, rng *rand.Rand) injected {
		return r.holdRequest(rng)
	}}
	Reset = Fault{Name: "reset", Text: "a client's connections are reset, again and again", inject: func(r *run, rng *rand.Rand) injected {
		return r.link(rng, 0, (*proxy.Proxy).Reset)
	}}
	Refuse = Fault{Name: "refuse", Text: "a client's connections are closed, and new ones refused", inject: func(r *run, rng *rand.Rand) injected {
		return r.link(rng, between(rng, r.TTL/4, r.reclaim()), (*proxy.Proxy).Refuse)
	}}
	HangUp = Fault{Name: "hang-up", Text: "the server is told that a holder's connections have ended; the holder is not, for longer than its TTL", wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		c := r.pick(rng, longHeld)
		r.links(c, (*proxy.Proxy).HangUp)
		return during(c, r.reclaim()*5/4, func() { r.links(c, r.healLink) })
	}}
	Delay = Fault{Name: "delay", Text: "a client's network is slow: a tenth of a TTL each way", inject: func(r *run, rng *rand.Rand) injected {
		return r.link(rng, r.TTL, func(p *proxy.Proxy) { p.Delay(r.TTL / 10) })
	}}
)

// between returns a duration from a to b.
func between(rng *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(rng.Int64N(int64(b-a)+1))
}

// pause stops a client: now, or when it next reads the registers, from when on it
// then lasts; one that reads nothing for as long is let be.
func (r *run) pause(name string, lasts time.Duration, atRead bool) injected {
	e := history.Event{Op: r.number(), Client: name, F: history.Pause, Type: history.Invoke}
	r.heard(e)
	if atRead {
		r.arm(name, true)
	} else {
		r.clients[name].signal(syscall.SIGSTOP)
	}
	f := during(name, lasts, func() {
		r.arm(name, false)
		r.clients[name].signal(syscall.SIGCONT)
		e.Type = history.OK
		r.heard(e)
	})
	f.told = true
	if begun := time.Now(); atRead {
		f.left = func() time.Duration {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.armed[name] {
				return min(50*time.Millisecond, time.Until(begun.Add(2*lasts)))
			}
			return time.Until(r.stopped[name].Add(lasts))
		}
	}
	return f
}

func (r *run) arm(name string, armed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.armed[name] = armed
}

// reading is called before the desk answers a client that reads the registers.
func (r *run) reading(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.armed[name] {
		r.armed[name], r.stopped[name] = false, time.Now()
		r.clients[name].signal(syscall.SIGSTOP)
	}
}

// kill kills a client. Another incarnation takes its place.
func (r *run) kill(name string, rng *rand.Rand) injected {
	r.killed(name)
	f := during(name, between(rng, 0, r.TTL/2), func() { r.start(name) })
	f.told = true
	return f
}

// killed kills a client's process, and tells the history.
func (r *run) killed(name string) {
	e := history.Event{Op: r.number(), Client: name, F: history.Kill, Type: history.Invoke}
	r.heard(e)
	r.clients[name].kill()
	e.Type = history.OK
	r.heard(e)
}

// link does something to all connections of a client.
func (r *run) link(rng *rand.Rand, lasts time.Duration, do func(*proxy.Proxy)) injected {
	c := r.victim(rng)
	r.links(c, do)
	return during(c, lasts, func() { r.links(c, r.healLink) })
}

// victim chooses a client for a fault of the network: every other time one that
// has, or waits for, a lock which it will hold for so long that it is renewed.
func (r *run) victim(rng *rand.Rand) string {
	r.victims++
	if r.victims%2 == 0 {
		return r.pick(rng, r.either)
	}
	return r.pick(rng, r.long)
}

func (r *run) links(client string, do func(*proxy.Proxy)) {
	for _, p := range r.proxies[client] {
		do(p)
	}
}

func (r *run) healLink(p *proxy.Proxy) {
	if err := p.Heal(); err != nil {
		r.t.Error(err)
	}
}

// losing swallows what is sent in one direction. Where locks end with the
// connection it keeps it back instead: bytes that are lost in TCP end the
// connection.
func (r *run) losing(dir proxy.Direction, drop func(*proxy.Proxy)) func(*proxy.Proxy) {
	if r.Store.Connections {
		return func(p *proxy.Proxy) { p.Stall(dir) }
	}
	return drop
}

// late is how long a reply may take before a renewal is nearly given up.
func (r *run) late() time.Duration {
	return min(max(r.TTL/6, 500*time.Millisecond), 5*time.Second) * 85 / 100
}

func (r *run) delayReplies(p *proxy.Proxy) { p.DelayOne(proxy.ToClient, r.late()) }

// lateReply has the replies come late, but not so late that a renewal is given up,
// and cuts the client off after one: who counts from the reply believes too long.
func (r *run) lateReply(rng *rand.Rand) injected {
	c := r.pick(rng, justGranted)
	r.links(c, r.delayReplies)
	return injected{client: c, steps: []step{
		{r.TTL/3 + r.late() + between(rng, 0, r.TTL/6), func() { r.links(c, (*proxy.Proxy).BlackHole) }},
		{r.reclaim() * 5 / 4, func() { r.links(c, r.healLink) }},
	}}
}

// lateGrant does the same with a grant.
func (r *run) lateGrant(rng *rand.Rand) injected {
	c := r.pick(rng, func(p phase) bool { return p.long && !p.holds })
	r.links(c, r.delayReplies)
	r.whenGranted(c, func() { r.links(c, (*proxy.Proxy).BlackHole) })
	return during(c, r.TTL+r.reclaim()*5/4, func() {
		r.whenGranted(c, nil)
		r.links(c, r.healLink)
	})
}

// whenGranted has something done when a client next gets a lock for long.
func (r *run) whenGranted(client string, do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.granted[client] = do
}

// vanish cuts a client off and kills it, and keeps its connections for longer
// than the server may keep its locks.
func (r *run) vanish(name string) injected {
	r.links(name, (*proxy.Proxy).BlackHole)
	r.killed(name)
	return during(name, r.reclaim()+2*r.Store.Promise.Slack, func() {
		r.links(name, r.healLink)
		r.start(name)
	})
}

// holdRequest holds the next request on each of a client's links.
func (r *run) holdRequest(rng *rand.Rand) injected {
	c := r.victim(rng)
	var held []*proxy.Held
	r.links(c, func(p *proxy.Proxy) { held = append(held, p.Hold(nil)) })
	return during(c, between(rng, r.TTL/2, 2*r.reclaim()), func() {
		for _, h := range held {
			_ = h.Release() // an error: none was sent, or the server has hung up
		}
	})
}
