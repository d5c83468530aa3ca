// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golocker/locker/backend"
)

// The keeper renews all leases of a Client and ends those whose deadline has
// passed, from one goroutine. It looks at all of them at each tick: a scan of
// ten thousand takes less time than they would take memory in a heap.
//
// Renewals run one per group (session, node) at a time, each in a goroutine for
// as long as the exchange lasts, so that a sick group delays no other. The
// keeper itself never waits for one: deadlines hold while a renewal hangs.
type keeper struct {
	client *Client
	woken  chan struct{}
	busy   map[any]bool // groups with a renewal in flight; guarded by Client.mu
}

func (k *keeper) start(c *Client) {
	k.client = c
	k.woken = make(chan struct{}, 1)
	k.busy = map[any]bool{}
	c.calls.Go(k.run)
}

// kick makes the keeper look now.
func (k *keeper) kick() {
	select {
	case k.woken <- struct{}{}:
	default:
	}
}

func (k *keeper) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.client.closing.Done():
			return
		case <-k.woken:
		case <-timer.C:
		}
		if next := k.tick(); next > 0 {
			timer.Reset(next)
		} else {
			timer.Stop() // nothing is held: accept kicks
		}
	}
}

// tick ends what has expired, starts the renewals that are due, and returns
// when to look again: half a margin at the latest, since timers stand still
// while the machine sleeps; never if nothing is held.
func (k *keeper) tick() (next time.Duration) {
	c, now := k.client, backend.Now()
	var expired []*hold
	soon, due := map[any][]*hold{}, map[any]bool{}

	c.mu.Lock()
	next = backend.Margin(c.ttl) / 2
	for h := range c.held {
		if h.lease.ctx.Err() != nil || h.lease.passed(now) {
			c.drop(h, h.lateCause())
			expired = append(expired, h)
			continue
		}
		if d := h.deadline(); !d.IsZero() {
			next = min(next, d.Sub(now))
		}
		if group := h.grant.Group; !k.busy[group] && h.due(now, h.grant.TTL/6) {
			soon[group] = append(soon[group], h)
			due[group] = due[group] || h.due(now, 0)
		}
	}
	for group := range due {
		if due[group] && !c.closed {
			k.startRenewal(group, soon[group], now)
		}
	}
	if len(c.held) == 0 {
		next = 0
	}
	c.mu.Unlock()

	for _, h := range expired {
		c.cleaner.add(h.grant)
	}
	if len(expired) > 0 {
		c.calls.Go(func() { // a logger may block, the keeper may not
			for _, h := range expired {
				c.log.Warn("lock lost: its deadline passed", "lock", h.lease.name, "token", h.lease.token, "error", h.lease.Err())
			}
		})
	}
	return next
}

// due says whether a lease wants a renewal within ahead of now: with less than
// two thirds of its TTL left, but no sooner than a sixth after the last try.
// One that never expires is looked at each third of the TTL.
func (h *hold) due(now time.Time, ahead time.Duration) bool {
	ttl := h.grant.TTL
	switch {
	case len(h.asked) > 0:
		return true
	case h.until.IsZero():
		return now.Sub(h.tried) >= ttl/3-ahead
	case now.Sub(h.tried) < ttl/6:
		return false
	}
	return h.until.Sub(now) < ttl*2/3+ahead
}

// A renewal is the part of one lease in one Backend.Renew.
type renewal struct {
	hold  *hold
	asked []chan<- error // Renew calls of the user that this exchange answers
}

// startRenewal starts the one renewal of a group. Client.mu is held.
func (k *keeper) startRenewal(group any, holds []*hold, now time.Time) {
	batch := make([]renewal, len(holds))
	left := holds[0].grant.TTL
	for i, h := range holds {
		batch[i] = renewal{h, h.asked}
		h.asked, h.tried = nil, now
		if !h.until.IsZero() {
			left = min(left, h.until.Sub(now))
		}
	}
	within := renewWithin(holds[0].grant.TTL, left)
	k.busy[group] = true
	k.client.calls.Go(func() { k.renew(group, batch, within) })
}

// renewWithin bounds one renewal, so that a second one fits into what is left.
func renewWithin(ttl, left time.Duration) time.Duration {
	longest := min(max(ttl/6, 500*time.Millisecond), 5*time.Second)
	return max(min(longest, left/2), 100*time.Millisecond)
}

func (k *keeper) renew(group any, batch []renewal, within time.Duration) {
	c := k.client
	grants := make([]*backend.Grant, len(batch))
	for i, r := range batch {
		grants[i] = r.hold.grant
	}
	start := backend.Now()
	ctx, cancel := context.WithTimeout(c.closing, within)
	results := c.backend.Renew(ctx, grants)
	cancel()

	var lost []*hold
	failed := 0
	var trouble error
	c.mu.Lock()
	delete(k.busy, group)
	for i, r := range batch {
		result := backend.Renewal{Err: errors.New("the backend returned no result")}
		if i < len(results) {
			result = results[i]
		}
		before := len(c.held)
		err := r.hold.renewed(result, start, len(r.asked) > 0)
		switch {
		case len(c.held) < before:
			lost = append(lost, r.hold)
		case err != nil && !errors.Is(err, ErrLost):
			failed, trouble = failed+1, err
		}
		for _, asked := range r.asked {
			asked <- err
		}
	}
	c.mu.Unlock()
	for _, h := range lost {
		c.log.Warn("lock lost: the store no longer has it", "lock", h.lease.name, "token", h.lease.token, "error", h.lease.Err())
	}
	if failed > 0 && c.closing.Err() == nil {
		c.log.Warn("renewal failed; trying again", "locks", failed, "error", trouble)
	}
	k.kick()
}

// renewed applies the result of a renewal that started at start, forwards only
// and only to a lease that has not ended. Client.mu is held.
func (h *hold) renewed(r backend.Renewal, start time.Time, byUser bool) error {
	c := h.client
	if _, held := c.held[h]; !held || h.lease.ctx.Err() != nil || h.lease.passed(backend.Now()) {
		return ErrLost
	}
	switch {
	case r.Err == nil:
		if r.Until.IsZero() {
			r.Until = start.Add(h.grant.TTL)
		}
		if !h.until.IsZero() && r.Until.After(h.until) {
			h.until = r.Until
		}
		if byUser && !h.ends.IsZero() {
			h.ends = start.Add(h.grant.TTL)
		}
		h.trouble = nil
		h.schedule()
	case errors.Is(r.Err, ErrLost):
		c.drop(h, r.Err)
	default:
		h.trouble = r.Err
	}
	return r.Err
}

// Renew implements [Locker].
func (c *Client) Renew(ctx context.Context, lease *Lease) error {
	h, err := c.own(lease)
	if err != nil {
		return &Error{Op: "renew", Backend: c.info.Name, Err: err}
	}
	if ctx.Err() != nil {
		return h.error("renew", ended(ctx, false, nil))
	}
	asked := make(chan error, 1)
	if h.ask(asked) {
		late := time.NewTimer(answerWithin + backend.Linger(c.ttl))
		defer late.Stop()
		select {
		case err = <-asked:
		case <-lease.ctx.Done():
		case <-ctx.Done():
			return h.error("renew", ended(ctx, false, nil))
		case <-late.C: // two renewals, one before it, take less
			return h.error("renew", fmt.Errorf("%w: the backend did not return from Renew", backend.ErrUnavailable))
		}
	}
	if over := lease.Err(); over != nil {
		err = oneLine(unnamed(over, lease.name), ErrLost) // unlocked is gone as well
	}
	if err != nil {
		return h.error("renew", err)
	}
	return nil
}

// ask has the keeper renew h in an exchange that begins after this call. It is
// false if the lease has ended.
func (h *hold) ask(asked chan<- error) bool {
	if h.lease.Err() != nil {
		return false
	}
	c := h.client
	c.mu.Lock()
	_, held := c.held[h]
	if held {
		h.asked = append(h.asked, asked)
	}
	c.mu.Unlock()
	if held {
		c.keeper.kick()
	}
	return held
}
