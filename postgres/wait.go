// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/golocker/locker/backend"
)

// A wait is a statement that blocks in the server's queue, on a session of its
// own. The lock stays with that session (P5).
type wait struct {
	session *session
	op      *op
}

// granted says whether the statement has ended, with the lock.
func (w *wait) granted() bool {
	select {
	case <-w.op.done:
		return w.op.err == nil
	default:
		return false
	}
}

func newWaitOp(key int64) *op {
	o := prepared(waitStatement, key)
	o.blocks = true
	return o
}

// wait queues c, or takes over the statement of the caller before it, and waits
// until the server grants the lock.
func (b *Backend) wait(ctx, exchange context.Context, c *caller) (_ *hold, _ *op, err error) {
	defer b.tellInTime(ctx, c)()
	defer func() {
		// The server has said that another holds the lock, though not yet that
		// the statement is in its queue: who waits outlives an outage.
		if isLost(err) || errors.Is(err, backend.ErrUnavailable) {
			b.tellQueued(c)
		}
	}()
	w, err := b.queueUp(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	h := newHold(c, w.session)
	h.waited, h.wait = true, w
	for {
		select {
		case <-w.op.done:
		case <-ctx.Done():
			if b.passOn(c) {
				return nil, nil, ctx.Err()
			}
			return b.withdrawn(exchange, c, h, ctx.Err())
		}
		switch err := w.op.err; {
		case err == nil:
			b.claim(c, h)
			token, err := b.drawToken(exchange, h)
			return h, token, err
		case !w.session.alive():
			b.claim(c, h)
			return h, nil, lostSession(err)
		case codeOf(err) == codeCancelled:
			// Its snapshot is renewed (P8), or somebody cancelled it. It may
			// hold the lock all the same (P1): then it is granted again, and
			// all of it is released at once.
			b.requeue(c, w)
		default:
			return b.withdrawn(exchange, c, h, statementError(err))
		}
	}
}

// withdrawn ends what h may have, and with it the call.
func (b *Backend) withdrawn(exchange context.Context, c *caller, h *hold, why error) (*hold, *op, error) {
	b.claim(c, h)
	if err := b.undo(exchange, h); err != nil && !isLost(err) {
		return h, nil, why
	}
	return nil, nil, why
}

// drawToken dates a grant that was waited for, and draws its token: how long
// ago the server's idle timer started is known of this exchange only (G2b).
func (b *Backend) drawToken(ctx context.Context, h *hold) (*op, error) {
	for tries := 0; ; tries++ {
		o := prepared(tokenStatement)
		err := h.session.do(ctx, o)
		switch {
		case err == nil:
			return o, nil
		case codeOf(err) == codeCancelled && tries == 0: // meant for the wait (P1)
		case h.session.alive():
			return nil, err
		default:
			return nil, lostSession(err)
		}
	}
}

// queueUp returns the statement in the server's queue.
func (b *Backend) queueUp(ctx context.Context, c *caller) (*wait, error) {
	b.mu.Lock()
	g := b.gates[c.key]
	if g.wait != nil {
		defer b.mu.Unlock()
		return g.wait, nil
	}
	if b.waiting >= b.cfg.maxWaiting() {
		b.mu.Unlock()
		return nil, fmt.Errorf("%d locks are waited for, or held after a wait, with a connection each: that is the cap (Config.MaxWaiting, max_waiting)", b.waiting)
	}
	b.waiting++
	b.mu.Unlock()

	s, err := b.waitingSession(ctx)
	if err != nil {
		b.mu.Lock()
		b.waiting--
		b.mu.Unlock()
		return nil, err
	}
	b.mu.Lock()
	s.slot = true
	b.mu.Unlock()
	if err := b.passGrace(ctx, c, s); err != nil {
		b.keep(s)
		return nil, err
	}
	if !s.alive() {
		b.mu.Lock()
		b.vacate(s)
		b.mu.Unlock()
		why, _ := s.end()
		return nil, lostSession(why)
	}
	w := &wait{session: s, op: newWaitOp(c.key)}
	b.mu.Lock()
	g.wait, g.locked = w, true
	g.refuse() // so that the statement is only ever left to one who waits
	b.waits[w] = struct{}{}
	b.startWatch()
	b.mu.Unlock()
	s.enqueue(w.op)
	b.confirm(ctx, c, w)
	return w, nil
}

// confirm tells the callers that they wait, once the statement is in the
// server's queue: what is told in order was queued in order.
func (b *Backend) confirm(ctx context.Context, c *caller, w *wait) {
	pause := time.Millisecond
	for {
		s, err := b.shared(ctx, c.TTL)
		if err == nil {
			o := query(queuedSQL(w.session.pid))
			if err = s.do(ctx, o); err == nil && len(o.rows) > 0 {
				break
			}
		}
		select {
		case <-w.op.done:
			return
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
	b.tellQueued(c)
}

func (b *Backend) requeue(c *caller, w *wait) {
	o := newWaitOp(c.key)
	b.mu.Lock()
	w.op = o
	b.mu.Unlock()
	w.session.enqueue(o)
}

// endWait cancels a statement until it has ended. Where the server cannot be
// asked for that, it ends the session.
func (b *Backend) endWait(ctx context.Context, w *wait) {
	for {
		select {
		case <-w.op.done:
			return
		default:
		}
		s, err := b.shared(ctx, w.session.ttl)
		if err == nil {
			err = s.do(ctx, query(cancelSQL(w.session.pid)))
		}
		if err != nil {
			w.session.fail(errGivenUp, false)
			return
		}
		select { // a cancel that came before the statement is lost
		case <-w.op.done:
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func lostSession(err error) error {
	if isLost(err) {
		return err
	}
	return fmt.Errorf("%w: %w", backend.ErrLost, err)
}
