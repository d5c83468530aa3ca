// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/golocker/locker/backend"
)

// Lock tries on the shared session, and waits on one of its own if another
// holds the lock.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	exchange, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	c, err := b.enter(req)
	if err != nil {
		return nil, err
	}
	defer b.leave(c)
	select {
	case <-c.turn:
	case err := <-c.out:
		return nil, err
	case <-ctx.Done():
		if b.giveUp(c) {
			return nil, ctx.Err()
		}
	}
	h, drawn, err := b.lead(ctx, exchange, c)
	var token int64
	if err == nil {
		if token, err = drawn.token(); err == nil && !b.granted(c, h, token) {
			why, _ := h.session.end()
			err = lostSession(why)
		}
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, backend.ErrLocked) {
		b.failAll(c, err)
	}
	if h == nil {
		return nil, err
	}
	g := &backend.Grant{Request: req, Group: h.session, Sys: h}
	if err != nil {
		return g, err
	}
	g.Token, g.Until = token, drawn.sent.Add(h.session.ttl)
	return g, nil
}

// token returns what an op drew.
func (o *op) token() (int64, error) {
	text := o.value()
	if text == nil {
		return 0, errors.New("the server drew no token")
	}
	return strconv.ParseInt(*text, 10, 64)
}

// lead is what the first caller for a key does. It returns what was granted, and
// the statement that drew the token.
func (b *Backend) lead(ctx, exchange context.Context, c *caller) (*hold, *op, error) {
	for {
		other, state, waits := b.at(c)
		switch {
		case waits || other != nil && state == held:
			if c.NoWait {
				return nil, nil, backend.ErrLocked
			}
			return b.wait(ctx, exchange, c)
		case other != nil: // it is being released
			select {
			case <-other.freed:
				continue
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		}
		h, o, err := b.try(ctx, exchange, c)
		if !errors.Is(err, errHeld) || c.NoWait {
			return h, o, err
		}
		return b.wait(ctx, exchange, c)
	}
}

// errHeld is the server's answer to a try.
var errHeld = fmt.Errorf("%w", backend.ErrLocked)

// at returns what this process has of the key.
func (b *Backend) at(c *caller) (h *hold, state holdState, waits bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates[c.key]
	if g.hold != nil {
		state = g.hold.state
	}
	return g.hold, state, g.wait != nil
}

// try asks for a lock that nobody here has.
func (b *Backend) try(ctx, exchange context.Context, c *caller) (*hold, *op, error) {
	s, err := b.shared(ctx, c.TTL)
	if err != nil {
		return nil, nil, err
	}
	if err := b.passGrace(ctx, c, s); err != nil {
		return nil, nil, err
	}
	o := prepared(tryStatement, c.key)
	h := newHold(c, s)
	h.try = o
	b.claim(c, h)
	err = s.do(exchange, o)
	switch {
	case err == nil && o.value() != nil:
		return h, o, nil
	case err == nil:
		b.forget(h)
		b.refuse(c)
		return nil, nil, errHeld
	case o.unsent:
		b.forget(h)
		if !s.alive() {
			err = lostSession(err)
		}
		return nil, nil, err
	case !s.alive():
		return h, nil, lostSession(err)
	case codeOf(err) == "":
		return h, nil, err
	}
	// What failed after the lock was taken still holds it (P1).
	if e := b.undo(exchange, h); e != nil && !isLost(e) {
		return h, nil, statementError(err)
	}
	return nil, nil, statementError(err)
}

// passGrace waits until a session grants locks: a TTL after a restart of the
// server, which frees all locks without any holder's knowing (P4).
func (b *Backend) passGrace(ctx context.Context, c *caller, s *session) error {
	left := s.grace.Sub(backend.Now())
	if left <= 0 {
		return nil
	}
	if c.NoWait {
		return fmt.Errorf("%w: the server was restarted, and holders from before may still be at work: locks are granted again in %v", backend.ErrLocked, left.Round(time.Millisecond))
	}
	b.refuse(c)
	b.tellQueued(c)
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
		why, _ := s.end()
		return lostSession(why)
	}
}
