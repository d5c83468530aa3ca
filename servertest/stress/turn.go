// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest/history"
)

// A turn is one plan on its way.
type turn struct {
	*worker
	Plan
	ask   func(question) (answer, error)
	lease *locker.Lease
}

func (t *turn) event(f history.F, typ history.Type, more ...func(*history.Event)) {
	e := history.Event{Op: t.Op, Key: t.Key, F: f, Type: typ}
	if t.lease != nil {
		e.Token = t.lease.Token()
	}
	for _, m := range more {
		m(&e)
	}
	t.record(e)
}

// run returns an error if the desk does not answer.
func (t *turn) run() error {
	if !t.lock() {
		return nil
	}
	stop := context.AfterFunc(t.lease.Context(), t.lost)
	defer stop()
	t.look()
	if t.Register {
		if err := t.update(); err != nil {
			return err
		}
	}
	t.hold(t.Hold / 2)
	if t.Renew {
		t.renew()
	}
	t.hold(t.Hold - t.Hold/2)
	for range t.Unlocks {
		t.event(history.Unlock, history.Invoke)
		t.outcome(history.Unlock, t.locker.Unlock(context.Background(), t.lease))
	}
	return nil
}

func (t *turn) lock() bool {
	ctx := context.Background()
	opts := []locker.Option{locker.Note(fmt.Sprintf(noteFormat, t.Op, t.Key))}
	switch {
	case t.NoWait:
		opts = append(opts, locker.NoWait())
	case t.MaxWait > 0:
		opts = append(opts, locker.MaxWait(t.MaxWait))
	case t.Cancel > 0:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.Cancel)
		defer cancel()
	}
	if t.NoRenew {
		opts = append(opts, locker.NoRenew())
	}
	t.event(history.Lock, history.Invoke, func(e *history.Event) { e.NoRenew = t.NoRenew })
	lease, err := t.locker.Lock(ctx, t.Key, opts...)
	if err != nil {
		t.outcome(history.Lock, err)
		return false
	}
	t.lease = lease
	t.event(history.Lock, history.OK, t.deadline)
	return true
}

func (t *turn) deadline(e *history.Event) { e.ValidUntil = history.At(t.lease.Deadline()) }

// lost is called when the lease's context has ended.
func (t *turn) lost() {
	if errors.Is(context.Cause(t.lease.Context()), locker.ErrLost) {
		t.event(history.Lost, history.Info, func(e *history.Event) { e.Time = history.Now() }, t.deadline)
	}
}

// look records that the client believes in its lease, at an instant that lies
// before it looked.
func (t *turn) look() {
	for range 10 { // until the process is not interrupted while it looks
		at := history.Now()
		if t.lease.Err() != nil {
			return
		}
		until := history.At(t.lease.Deadline())
		if history.Now()-at < 2*time.Millisecond {
			t.event(history.Look, history.OK, func(e *history.Event) { e.Time, e.ValidUntil = at, until })
			return
		}
	}
}

// update adds to the registers what it computed from their values. It does not
// look at its lease in between, as a program that waits for its database does
// not.
func (t *turn) update() error {
	q := question{Op: t.Op, Key: t.Key, Token: t.lease.Token()}
	q.Do = "read"
	a, err := t.ask(q)
	if err != nil {
		return err
	}
	<-time.After(t.Think)
	q.Do, q.Fenced, q.Plain, q.Value = "write", a.Fenced, a.Plain, fmt.Sprint(t.Op)
	_, err = t.ask(q)
	return err
}

// hold waits while the lease lasts, and looks at it now and then, or waits for
// its end alone.
func (t *turn) hold(d time.Duration) {
	over := time.NewTimer(d)
	defer over.Stop()
	now := time.NewTicker(100 * time.Millisecond)
	defer now.Stop()
	for {
		select {
		case <-now.C:
			if !t.Blind {
				t.look()
			}
		case <-t.lease.Context().Done():
			return
		case <-over.C:
			t.look()
			return
		}
	}
}

func (t *turn) renew() {
	ctx, cancel := context.WithTimeout(context.Background(), t.TTL)
	defer cancel()
	t.event(history.Renew, history.Invoke)
	t.outcome(history.Renew, t.locker.Renew(ctx, t.lease))
}

// outcome records the end of a call.
func (t *turn) outcome(f history.F, err error) {
	if err == nil {
		if f == history.Renew {
			t.event(f, history.OK, t.deadline)
		} else {
			t.event(f, history.OK)
		}
		return
	}
	typ, class := t.classify(f, err)
	t.event(f, typ, func(e *history.Event) { e.Class, e.Text = class, err.Error() })
}

func (t *turn) classify(f history.F, err error) (history.Type, string) {
	switch {
	case f == history.Lock && errors.Is(err, locker.ErrLocked) && t.NoWait:
		if strings.Contains(err.Error(), "was restarted") {
			return history.Fail, history.Grace
		}
		return history.Fail, history.Locked
	case f == history.Lock && (t.Cancel > 0 || t.MaxWait > 0) && errors.Is(err, context.DeadlineExceeded):
		return history.Info, history.Cancelled
	case f != history.Lock && errors.Is(err, locker.ErrLost):
		return history.Fail, history.Gone
	case errors.Is(err, backend.ErrUnavailable):
		return history.Info, history.Unavailable
	}
	return history.Info, history.Other
}
