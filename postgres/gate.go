// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/golocker/locker/backend"
)

// A gate lets the calls of Lock for one key pass one at a time, in their order:
// session locks are re-entrant, so the server would grant a lock twice to one
// session. Only the first caller talks to the server. All of it is guarded by
// Backend.mu.
type gate struct {
	hold   *hold // what this process has of the key, on a session that lives
	wait   *wait // the statement in the server's queue, which one caller leaves to the next
	locked bool  // the server has said that another holds the lock, and the first waits, or will
	queue  []*caller
}

// A caller is one call of Lock.
type caller struct {
	backend.Request
	key    int64
	turn   chan struct{} // closed when it is the first
	out    chan error    // holds one: why it ends without having had its turn
	queued bool          // Queued was called
}

// enter queues a call. One that must not wait is refused at once where the
// server has said that another holds the lock.
func (b *Backend) enter(req backend.Request) (*caller, error) {
	c := &caller{Request: req, key: b.cfg.key(req.Name), turn: make(chan struct{}), out: make(chan error, 1)}
	b.mu.Lock()
	g := b.gates[c.key]
	if g == nil {
		g = &gate{}
		b.gates[c.key] = g
	}
	if req.NoWait && g.taken() {
		b.mu.Unlock()
		return nil, backend.ErrLocked
	}
	g.queue = append(g.queue, c)
	var tell []func()
	if len(g.queue) == 1 {
		close(c.turn)
	} else if g.taken() {
		c.queued = true
		tell = append(tell, c.Queued)
	}
	b.mu.Unlock()
	call(tell)
	return c, nil
}

// taken says whether the server has said that another holds the lock.
func (g *gate) taken() bool { return g.locked || g.hold != nil && g.hold.granted }

// refuse notes that the server has said to c that another holds the lock: who
// must not wait ends with it.
func (b *Backend) refuse(c *caller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates[c.key]
	g.locked = true
	g.refuse()
}

// refuse ends those that must not wait, but for the first caller. Backend.mu is
// held.
func (g *gate) refuse() {
	g.queue = slices.DeleteFunc(g.queue, func(c *caller) bool {
		refused := c.NoWait && !c.first()
		if refused {
			c.out <- backend.ErrLocked
		}
		return refused
	})
}

// tellQueued tells all callers for the key of c that they wait.
func (b *Backend) tellQueued(c *caller) {
	b.mu.Lock()
	tell := b.gates[c.key].unqueued()
	b.mu.Unlock()
	call(tell)
}

// tellInTime tells c that it waits before its context can have ended, if that has
// a deadline: its wait may end before it is in the server's queue, and its error
// then says that another holds the lock. Others are told when they are queued.
func (b *Backend) tellInTime(ctx context.Context, c *caller) (stop func() bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return func() bool { return true }
	}
	timer := time.AfterFunc(deadline.Sub(backend.Now())/2, func() {
		b.mu.Lock()
		told := c.queued
		c.queued = true
		b.mu.Unlock()
		if !told {
			call([]func(){c.Queued})
		}
	})
	return timer.Stop
}

// unqueued returns the functions that tell all callers that they wait.
// Backend.mu is held.
func (g *gate) unqueued() (tell []func()) {
	for _, c := range g.queue {
		if !c.queued && !c.NoWait {
			c.queued = true
			tell = append(tell, c.Queued)
		}
	}
	return tell
}

func (c *caller) first() bool {
	select {
	case <-c.turn:
		return true
	default:
		return false
	}
}

func call(functions []func()) {
	for _, f := range functions {
		if f != nil {
			f()
		}
	}
}

// leave takes a call out of its queue, and gives the next one its turn.
func (b *Backend) leave(c *caller) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(c)
}

// giveUp is leave for a call that has not had its turn. It returns false if it
// has: what the first has in the server is then its own to end.
func (b *Backend) giveUp(c *caller) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.first() {
		return false
	}
	b.remove(c)
	return true
}

// remove is leave with b.mu held.
func (b *Backend) remove(c *caller) {
	g := b.gates[c.key]
	if g == nil || !slices.Contains(g.queue, c) {
		return
	}
	g.queue = slices.DeleteFunc(g.queue, func(other *caller) bool { return other == c })
	if g.wait == nil {
		g.locked = false
	}
	if len(g.queue) > 0 && !g.queue[0].first() {
		close(g.queue[0].turn)
	}
	b.sweep(c.key, g)
}

// sweep forgets a gate that nobody needs. b.mu is held.
func (b *Backend) sweep(key int64, g *gate) {
	if len(g.queue) == 0 && g.hold == nil && g.wait == nil {
		delete(b.gates, key)
	}
}

// passOn leaves the statement that blocks to the next caller. It returns false
// if there is none: the statement is then the caller's to end.
func (b *Backend) passOn(c *caller) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.gates[c.key]; len(g.queue) < 2 {
		return false
	}
	b.remove(c)
	return true
}

// claim notes what the first caller has, or may have, been granted. A wait that
// was given up does not take the place of what this process holds: the process
// would forget it, and the next caller be granted it again by the same session.
func (b *Backend) claim(c *caller, h *hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates[c.key]
	if h.wait != nil {
		g.wait = nil
		delete(b.waits, h.wait)
	}
	if h.session.alive() { // else its end has been told, or will be
		h.session.holds[h] = struct{}{}
		if g.hold == nil || h.wait == nil || h.wait.granted() {
			g.hold = h
		}
	}
}

// granted ends the call of c with h, for which the next caller then waits. It
// returns false if the session of h has ended meanwhile.
func (b *Backend) granted(c *caller, h *hold, token int64) bool {
	b.mu.Lock()
	if !h.session.alive() {
		b.mu.Unlock()
		return false
	}
	h.state, h.granted, h.token = held, true, token
	h.try = nil // settled: its answers are not kept for as long as the lock is held
	g := b.gates[c.key]
	b.remove(c)
	g.refuse()
	tell := g.unqueued()
	b.mu.Unlock()
	call(tell)
	return true
}

// free notes that h is not held. b.mu is held.
func (b *Backend) free(h *hold) {
	select {
	case <-h.freed:
	default:
		close(h.freed)
	}
	if g := b.gates[h.key]; g != nil && g.hold == h {
		g.hold = nil
		b.sweep(h.key, g)
	}
}

// failAll ends all calls for a key with the error of the first: the server would
// tell them the same, one after the other.
func (b *Backend) failAll(c *caller, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates[c.key]
	for _, other := range g.queue {
		if other != c {
			other.out <- err
		}
	}
	g.queue = slices.DeleteFunc(g.queue, func(other *caller) bool { return other != c })
}
