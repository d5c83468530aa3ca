// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// The withdrawals under way in one session or node are bounded, so that a sick
// one delays no other and its return is not a flood. Close has less patience.
const (
	cleanersPerGroup        = 8
	closingCleanersPerGroup = 64
)

// The cleaner withdraws what ended without the store's word: at once, then after
// a pause that doubles, until the backend says that nothing is left.
type cleaner struct {
	client *Client
	ctx    context.Context // of the withdrawals; ends with stop
	cancel context.CancelFunc

	mu      sync.Mutex
	empty   sync.Cond
	stopped bool
	workers int                // at most, per group
	pending int                // grants not yet withdrawn: in a queue, in work or pausing
	last    error              // of the latest withdrawal that failed
	groups  map[any]*groupWork // those with something to do now
}

type groupWork struct {
	queue   []withdrawal
	workers int
}

type withdrawal struct {
	grant *backend.Grant
	pause time.Duration // after the next failure
}

func (w *cleaner) start(c *Client) {
	w.client = c
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.empty.L = &w.mu
	w.groups = map[any]*groupWork{}
	w.workers = cleanersPerGroup
}

// hurry is for Close.
func (w *cleaner) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.workers = closingCleanersPerGroup
}

// withdraw hands a grant to the cleaner.
func (c *Client) withdraw(g *backend.Grant, why string) {
	c.cleaner.add(g) // first: a logger may block
	c.log.Debug("withdrawing", "lock", g.Name, "why", why)
}

func (w *cleaner) add(g *backend.Grant) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending++
	w.enqueue(withdrawal{grant: g, pause: firstPause})
}

// enqueue has a worker of the group take x up. w.mu is held.
func (w *cleaner) enqueue(x withdrawal) {
	if w.stopped {
		return
	}
	group := x.grant.Group
	g := w.groups[group]
	if g == nil {
		g = &groupWork{}
		w.groups[group] = g
	}
	g.queue = append(g.queue, x)
	if g.workers < w.workers {
		g.workers++
		go w.work(group, g)
	}
}

func (w *cleaner) work(group any, g *groupWork) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(g.queue) > 0 && !w.stopped {
		x := g.queue[0]
		g.queue = g.queue[1:]
		w.mu.Unlock()
		err := w.withdraw(x)
		w.mu.Lock()
		w.settle(x, err)
	}
	if g.workers--; g.workers == 0 && w.groups[group] == g {
		delete(w.groups, group)
	}
}

func (w *cleaner) withdraw(x withdrawal) error {
	ctx, cancel := context.WithTimeout(w.ctx, backend.Linger(x.grant.TTL))
	defer cancel()
	err := w.client.backend.Withdraw(ctx, x.grant)
	if err != nil {
		w.client.log.Debug("withdrawal failed; trying again", "lock", x.grant.Name, "in", x.pause, "error", err)
	}
	return err
}

// settle ends a withdrawal, or has it tried again after its pause. w.mu is held.
func (w *cleaner) settle(x withdrawal, err error) {
	if err == nil {
		if w.pending--; w.pending == 0 {
			w.empty.Broadcast()
		}
		return
	}
	w.last = err
	if w.stopped {
		return
	}
	pause := x.pause
	x.pause = w.client.longer(pause)
	time.AfterFunc(pause, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.enqueue(x)
	})
}

// wait returns when nothing is left to withdraw, or after stop.
func (w *cleaner) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.pending > 0 && !w.stopped {
		w.empty.Wait()
	}
}

// stop ends the cleaner and returns how many grants it had not withdrawn, and
// the latest error.
func (w *cleaner) stop() (left int, last error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.cancel()
	w.empty.Broadcast()
	return w.pending, w.last
}
