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

// A hold is what a request has, or may have, in the server: the Sys of its
// grant. Backend.mu guards what may change.
type hold struct {
	key     int64
	session *session
	waited  bool // the session waited for the lock, and has no other
	lost    func(error)
	note    string

	try     *op   // on the shared session: what may have been granted
	wait    *wait // on a waiting one: the statement that may still block
	state   holdState
	token   int64
	granted bool          // the server said so, and Lock returned it
	release *op           // under way
	freed   chan struct{} // closed when it is gone, or its session has ended
}

func newHold(c *caller, s *session) *hold {
	return &hold{key: c.key, session: s, lost: c.Lost, note: c.Note, freed: make(chan struct{})}
}

type holdState int

const (
	unknown   holdState = iota // the server's answer is missing
	held                       // it was granted
	releasing                  // from the first line of Unlock
	gone                       // surely neither held nor waited for
)

var errGone = fmt.Errorf("%w: it was released before, or its session has ended", backend.ErrLost)

// undo releases whatever h has. It returns nil if it released it, ErrLost if it
// was gone before; any other error means that it is not known.
func (b *Backend) undo(ctx context.Context, h *hold) error {
	if err := b.settle(ctx, h); err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		o := b.startRelease(h)
		if o == nil {
			return errGone
		}
		err := h.session.await(ctx, o)
		switch {
		case err == nil:
			b.forget(h)
			if was := o.value(); was == nil || *was == "f" {
				return errGone
			}
			return nil
		case h.session.alive() && codeOf(err) == codeCancelled && tries == 0:
			b.restartRelease(h, o) // a cancel request for the statement before (P1)
			continue
		case h.session.alive():
			if codeOf(err) != "" || o.unsent {
				b.restartRelease(h, o)
			}
			return err
		}
		return b.undoDead(ctx, h, o.unsent)
	}
}

// undoDead makes sure that the ended session of h has ended in the server too.
// Where the release was on its way it is not known which of the two came first.
func (b *Backend) undoDead(ctx context.Context, h *hold, unsent bool) error {
	why, said := h.session.end()
	if err := b.bury(ctx, h.session); err != nil {
		if said && unsent {
			return why
		}
		return err
	}
	b.forget(h)
	if unsent || said {
		return fmt.Errorf("%w: %w", backend.ErrLost, why)
	}
	return why
}

// settle waits for the outcome of a try, and ends a wait.
func (b *Backend) settle(ctx context.Context, h *hold) error {
	b.mu.Lock()
	state, try, w := h.state, h.try, h.wait
	b.mu.Unlock()
	if state != unknown {
		return nil
	}
	if w != nil {
		b.endWait(ctx, w)
		return nil
	}
	err := h.session.await(ctx, try)
	switch {
	case err == nil && try.value() == nil:
		b.forget(h) // not granted
	case err != nil && codeOf(err) == "" && h.session.alive():
		return err
	}
	return nil
}

// startRelease returns the statement that releases h, sent at most once at a
// time; nil if h is gone.
func (b *Backend) startRelease(h *hold) *op {
	b.mu.Lock()
	if h.state == gone {
		b.mu.Unlock()
		return nil
	}
	h.state = releasing
	o := h.release
	fresh := o == nil
	if fresh {
		o = prepared(unlockStatement, h.key)
		if h.waited {
			o = prepared(unlockAllStatement)
		}
		h.release = o
	}
	b.mu.Unlock()
	if fresh {
		h.session.enqueue(o)
	}
	return o
}

func (b *Backend) restartRelease(h *hold, o *op) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.release == o {
		h.release = nil
	}
}

// bury makes sure that a session which has ended here has ended in the server.
// The connection tells nothing of that where something stands in between.
func (b *Backend) bury(ctx context.Context, s *session) error {
	for {
		b.mu.Lock()
		buried := s.buried
		b.mu.Unlock()
		if buried {
			return nil
		}
		other, err := b.shared(ctx, s.ttl)
		if err != nil {
			return err
		}
		o := query(terminateSQL(s.pid, s.started))
		if err := other.do(ctx, o); err != nil {
			return err
		}
		if len(o.rows) == 0 {
			b.mu.Lock()
			s.buried = true
			b.mu.Unlock()
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return unavailable(ctx.Err())
		}
	}
}

// forget makes h gone.
func (b *Backend) forget(h *hold) {
	b.mu.Lock()
	if h.state == gone {
		b.mu.Unlock()
		return
	}
	h.state = gone
	delete(h.session.holds, h)
	b.free(h)
	b.mu.Unlock()
	if h.waited {
		b.keep(h.session)
	}
}

// sessionEnded tells the loss of what a session had.
func (b *Backend) sessionEnded(s *session) {
	why, _ := s.end()
	quiet := errors.Is(why, errGivenUp) || errors.Is(why, errClosed)
	var tell []func(error)
	b.mu.Lock()
	delete(b.sessions, s)
	if b.current == s {
		b.current = nil
	}
	b.vacate(s)
	for h := range s.holds {
		if h.state == held && h.lost != nil && !quiet {
			tell = append(tell, h.lost)
		}
		b.free(h)
	}
	clear(s.holds)
	b.mu.Unlock()
	for _, lost := range tell {
		lost(why)
	}
}
