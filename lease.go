// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"fmt"
	"time"

	"github.com/golocker/locker/backend"
)

// A Lease is the proof that a lock is held. It is passive: no method of it
// talks to the store, and [Locker] alone renews and unlocks. It is safe for
// concurrent use.
type Lease struct {
	name     string
	token    int64
	ctx      context.Context
	end      context.CancelCauseFunc
	deadline func() time.Time
	hold     *hold // nil unless a Client made it
}

// NewLease returns a lease for those who implement [Locker]: fakes, composites.
// It ends with ctx, whose cause its Err then is, or when deadline() has passed,
// with ErrLost. A nil deadline, or a zero result, means none; deadline must be
// safe for concurrent use and may move. Times are on the clock of backend.Now.
func NewLease(ctx context.Context, name string, token int64, deadline func() time.Time) *Lease {
	never := deadline == nil
	if never {
		deadline = func() time.Time { return time.Time{} }
	}
	l := &Lease{name: name, token: token, deadline: deadline}
	l.ctx, l.end = context.WithCancelCause(ctx)
	if !never {
		l.watch()
	}
	return l
}

// watch ends a lease of NewLease when its deadline passes. It looks at least
// once a second, since a timer does not run while the machine sleeps.
func (l *Lease) watch() {
	var timer *time.Timer
	look := func() {
		if l.Err() == nil {
			next := time.Second
			if d := l.deadline(); !d.IsZero() {
				next = min(next, d.Sub(backend.Now()))
			}
			timer.Reset(next)
		}
	}
	timer = time.AfterFunc(time.Hour, look)
	timer.Reset(0)
	context.AfterFunc(l.ctx, func() { timer.Stop() })
}

// Name returns the lock's name.
func (l *Lease) Name() string { return l.name }

// Token returns the fencing token: for one name, a later lease has a larger
// one. It is 0 where the backend's Info has no Fencing.
func (l *Lease) Token() int64 { return l.token }

// Context returns a context with the values of Lock's context, but not its end.
// It ends when the lease is lost or unlocked; context.Cause then Is [ErrLost]
// or [ErrUnlocked]. It has no deadline of its own, since that moves.
func (l *Lease) Context() context.Context { return l.ctx }

// Guard returns a context that ends with ctx or with the lease, whichever is
// first. Call the function when the work is done.
func (l *Lease) Guard(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(ctx)
	if err := l.Err(); err != nil {
		cancel(err)
		return out, func() {}
	}
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	return out, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Err returns nil while the lock is held. Then it Is [ErrLost] or [ErrUnlocked]
// and says why. It looks at the clock itself, so that it is right even when the
// Context's end is late, as after a pause of the process.
func (l *Lease) Err() error {
	if l.ctx.Err() == nil {
		if !l.passed(backend.Now()) {
			return nil
		}
		l.end(l.late())
	}
	return context.Cause(l.ctx)
}

// Deadline returns until when the lock is surely held unless it is renewed, on
// the clock of backend.Now; zero if it does not expire.
func (l *Lease) Deadline() time.Time { return l.deadline() }

func (l *Lease) passed(now time.Time) bool {
	d := l.deadline()
	return !d.IsZero() && !now.Before(d)
}

// late says why a lease whose deadline passed is lost.
func (l *Lease) late() error {
	if l.hold != nil {
		return l.hold.late()
	}
	return &Error{Op: "hold", Name: l.name, Err: fmt.Errorf("%w: its deadline passed", ErrLost)}
}
