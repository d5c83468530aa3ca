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

// Unlock implements [Locker]. It takes at most [backend.Linger] of the TTL, and
// does not end sooner if ctx does.
func (c *Client) Unlock(ctx context.Context, lease *Lease) error {
	h, err := c.own(lease)
	if err != nil {
		return &Error{Op: "unlock", Backend: c.info.Name, Err: err}
	}
	if err := lease.Err(); err != nil {
		return h.error("unlock", err)
	}
	c.mu.Lock()
	_, held := c.held[h]
	answer := make(chan error, 1)
	if held {
		c.drop(h, ErrUnlocked)
		c.calls.Go(func() { // Close waits: a held lease means that it has not begun
			err := c.release(context.WithoutCancel(ctx), h)
			c.turns.wake(lease.name)
			answer <- err
		})
	}
	c.mu.Unlock()
	if !held {
		return h.error("unlock", lease.Err())
	}

	late := time.NewTimer(backend.Linger(h.grant.TTL))
	defer late.Stop()
	select {
	case err = <-answer:
	case <-late.C: // the backend ignores its context; release goes on
		select {
		case err = <-answer: // both are ready after a pause of this process
		default:
			err = fmt.Errorf("%w: the backend did not return from Unlock", backend.ErrUnavailable)
		}
	}
	if err != nil {
		return h.error("unlock", err)
	}
	return nil
}

// release asks the store until it answers or the time is over, and leaves the
// rest to the cleaner. Until the store has answered, its word that the grant is
// gone may be the effect of an attempt whose answer was lost.
func (c *Client) release(ctx context.Context, h *hold) error {
	linger := backend.Linger(h.grant.TTL)
	over := backend.Now().Add(linger)
	var unanswered error
	for attempt, pause := 1, 25*time.Millisecond; ; attempt, pause = attempt+1, 2*pause {
		left := over.Sub(backend.Now())
		err := c.unlockOnce(ctx, h.grant, left*2/3)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, ErrLost):
			unanswered = err
		case unanswered == nil:
			c.log.Warn("lock lost: it was gone at its unlock", "lock", h.lease.name, "token", h.lease.token, "error", err)
			return err
		case h.lease.passed(backend.Now()):
			return oneLine(err, unanswered)
		default:
			return nil
		}
		if !noAnswer(err) || over.Sub(backend.Now()) < linger/10+pause {
			c.log.Warn("unlock not acknowledged; withdrawing", "lock", h.lease.name, "token", h.lease.token, "error", err)
			c.withdraw(h.grant, "its Unlock was not acknowledged")
			return err
		}
		<-time.After(pause)
	}
}

func (c *Client) unlockOnce(ctx context.Context, g *backend.Grant, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return c.backend.Unlock(ctx, g)
}

// noAnswer tells silence, worth another attempt, from a refusal.
func noAnswer(err error) bool {
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
