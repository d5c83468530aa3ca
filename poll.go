// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// poll is call.run for a store that cannot wake a waiter: the calls for one name
// stand in line, and the first in line alone tries again and again.
func (a *call) poll() (*Lease, error) {
	c := a.client
	place := c.turns.join(a.name)
	defer c.turns.leave(a.name, place)
	select {
	case <-place.first:
		a.locked = c.turns.toldLocked(a.name)
	case err := <-place.failed:
		return nil, err
	case <-a.ctx.Done():
		a.locked = c.turns.toldLocked(a.name)
		return nil, a.ctx.Err()
	}
	pause := firstPause
	for {
		lease, err := a.try(true)
		wait := jitter(c.info.Poll)
		switch {
		case err == nil:
			c.turns.sawLocked(a.name) // by us, for those behind
			return lease, nil
		case errors.Is(err, ErrLocked) && a.ctx.Err() == nil:
			a.locked = true
			c.turns.sawLocked(a.name)
			pause = firstPause
		case a.again(err):
			wait, pause = pause, c.longer(pause)
		default:
			if errors.Is(err, backend.ErrUnavailable) && a.ctx.Err() == nil {
				c.turns.fail(a.name, place, err)
			}
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-place.woken:
		case <-a.ctx.Done():
			return nil, err
		}
	}
}

// jitter spreads pollers: between half of d and one and a half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// turns are the lines of local waiters, one line per name.
type turns struct {
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	places []*place
	locked bool // the store has said that another holds the lock, or we do
}

// A place in line belongs to one call of Lock.
type place struct {
	first  chan struct{} // closed when it is the first
	failed chan error    // the store, which has never answered, did not answer the first in line either
	woken  chan struct{} // a lease of this client was unlocked: try now
}

func (t *turns) join(name string) *place {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		t.lines = map[string]*line{}
	}
	l := t.lines[name]
	if l == nil {
		l = &line{}
		t.lines[name] = l
	}
	p := &place{first: make(chan struct{}), woken: make(chan struct{}, 1), failed: make(chan error, 1)}
	l.places = append(l.places, p)
	if len(l.places) == 1 {
		close(p.first)
	}
	return p
}

func (t *turns) leave(name string, p *place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[name]
	if l == nil {
		return // its line failed, and is gone
	}
	for i := range l.places {
		if l.places[i] != p {
			continue
		}
		l.places = append(l.places[:i:i], l.places[i+1:]...)
		if i == 0 && len(l.places) > 0 {
			close(l.places[0].first)
		}
		break
	}
	if len(l.places) == 0 {
		delete(t.lines, name)
	}
}

// wake has the first in line try now.
func (t *turns) wake(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lines[name]; l != nil {
		select {
		case l.places[0].woken <- struct{}{}:
		default:
		}
	}
}

// fail ends the wait of those behind first in line: the store did not answer,
// and has never done so.
func (t *turns) fail(name string, first *place, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.lines[name].places {
		if p != first {
			p.failed <- err
		}
	}
	t.lines[name].places = []*place{first}
}

func (t *turns) sawLocked(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[name].locked = true
}

func (t *turns) toldLocked(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[name]
	return l != nil && l.locked // nil: the line failed, and is gone
}
