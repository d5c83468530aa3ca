// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/backend"
)

// A hold is what the Client keeps of one request for a lock: from its start,
// while Lock waits, to the end of the lease. Its fields are guarded by
// Client.mu unless they say otherwise.
type hold struct {
	lease  Lease // its exported methods need no lock
	client *Client
	grant  *backend.Grant // set once, by accept
	lost   error          // what the store said of a grant that Lock had not returned yet

	until   time.Time      // of the store; zero: never
	ends    time.Time      // of a NoRenew lease; zero: renewed for as long as it is held
	tried   time.Time      // start of the last renewal
	trouble error          // of the last renewal, if it failed
	asked   []chan<- error // Renew calls of the user that wait for an exchange

	expiry atomic.Int64 // the lease's deadline after epoch; 0: none. Read without Client.mu
}

// epoch is the zero of hold.expiry: a number is read atomically, a time is not.
var epoch = backend.Now()

func newHold(c *Client, name string) *hold {
	h := &hold{client: c}
	h.lease = Lease{name: name, hold: h, deadline: h.deadline}
	return h
}

// accept makes a lease of a grant and registers it for renewal, unless the
// grant is worthless already: its error then says why.
func (h *hold) accept(values context.Context, g *backend.Grant, o Options) error {
	now := backend.Now()
	c := h.client
	c.mu.Lock()
	defer c.mu.Unlock()
	h.grant, h.until = g, g.Until
	switch {
	case c.closed:
		return ErrClosed
	case h.lost != nil:
		return h.lost
	case !h.until.IsZero() && !now.Before(h.until.Add(-backend.Margin(g.TTL))):
		return fmt.Errorf("%w: the grant came after its own deadline", ErrLost)
	}
	if o.NoRenew {
		h.ends = now.Add(g.TTL)
	}
	h.schedule()
	h.lease.token = g.Token
	h.lease.ctx, h.lease.end = context.WithCancelCause(values)
	c.held[h] = struct{}{}
	if h.until.IsZero() {
		h.tried = now
	}
	if len(c.held) == 1 || h.due(now, 0) || h.lease.passed(now.Add(backend.Margin(c.ttl)/2)) { // before the next tick
		c.keeper.kick()
	}
	return nil
}

// storeLost is the Request.Lost of this hold.
func (h *hold) storeLost(why error) {
	err := oneLine(why, ErrLost)
	c := h.client
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, held := c.held[h]; !held {
		h.lost = err
		return
	}
	c.drop(h, err)
	c.calls.Go(func() { // a logger may block, Lost may not
		c.log.Warn("lock lost: the store says so", "lock", h.lease.name, "token", h.lease.token, "error", why)
	})
}

// deadline returns when the lease ends unless it is renewed.
func (h *hold) deadline() time.Time {
	ns := h.expiry.Load()
	if ns == 0 {
		return time.Time{}
	}
	return epoch.Add(time.Duration(ns))
}

// schedule publishes the deadline after until or ends changed.
func (h *hold) schedule() {
	var d time.Time
	if !h.until.IsZero() {
		d = h.until.Add(-backend.Margin(h.grant.TTL))
	}
	if !h.ends.IsZero() && (d.IsZero() || h.ends.Before(d)) {
		d = h.ends
	}
	if !d.IsZero() {
		h.expiry.Store(int64(d.Sub(epoch)))
	}
}

// late says why a lease whose deadline passed is lost.
func (h *hold) late() error {
	h.client.mu.Lock()
	defer h.client.mu.Unlock()
	return h.error("hold", h.lateCause())
}

// lateCause is late without the names. Client.mu is held.
func (h *hold) lateCause() error {
	err := fmt.Errorf("%w: not renewed in time", ErrLost)
	if h.trouble != nil && h.ends.IsZero() {
		err = fmt.Errorf("%w: %w", err, h.trouble)
	}
	return err
}

func (h *hold) error(op string, err error) error {
	return h.client.error(op, h.lease.name, err)
}

// error names the operation, the backend and the lock, once.
func (c *Client) error(op, name string, err error) error {
	return &Error{Op: op, Backend: c.info.Name, Name: name, Err: unnamed(err, name)}
}

// unnamed takes the names of a lock off an error. They are looked for at the
// top alone: below may be an Error of another Client.
func unnamed(err error, name string) error {
	if e, ok := err.(*Error); ok && e.Name == name { //nolint:errorlint // see above
		return e.Err
	}
	return err
}

// drop ends a lease for cause: its Context first, then its renewal. Client.mu is
// held; cancelling runs no code but the context package's.
func (c *Client) drop(h *hold, cause error) {
	h.lease.end(h.error("hold", cause))
	delete(c.held, h)
	for _, asked := range h.asked {
		asked <- ErrLost
	}
	h.asked = nil
}

// own returns the hold of a lease of this client.
func (c *Client) own(lease *Lease) (*hold, error) {
	if lease == nil || lease.hold == nil || lease.hold.client != c {
		return nil, errForeign
	}
	return lease.hold, nil
}

var errForeign = errors.New("the lease belongs to another Client")
