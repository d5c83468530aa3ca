// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/backend"
)

// answerWithin is how long a store may leave a Lock without any word. The
// adapter's exchanges then have [backend.Linger] left to end with the driver's
// error, so that a Lock which was never answered ends within 15 s.
const answerWithin = 9 * time.Second

// Lock implements [Locker].
func (c *Client) Lock(ctx context.Context, name string, opts ...Option) (*Lease, error) {
	o := MakeOptions(opts...)
	lease, err := c.lock(ctx, name, o)
	if err != nil {
		return nil, c.error("lock", name, err)
	}
	return lease, nil
}

func (c *Client) lock(ctx context.Context, name string, o Options) (*Lease, error) {
	if err := oneLine(checkName(name), o.check()); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ended(ctx, false, nil)
	}
	wait, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.closing, func() { cancel(ErrClosed) })()
	if o.MaxWait > 0 {
		var stop context.CancelFunc
		wait, stop = context.WithTimeoutCause(wait, o.MaxWait, fmt.Errorf("waited %v: %w", o.MaxWait, context.DeadlineExceeded))
		defer stop()
	}
	call := &call{client: c, ctx: wait, values: context.WithoutCancel(ctx), name: name, opts: o}
	run := call.run
	if c.info.Poll > 0 && !o.NoWait {
		run = call.poll
	}
	lease, err := run()
	if err != nil && wait.Err() != nil { // whatever came first, here is where both are known
		err = ended(wait, call.locked || errors.Is(err, ErrLocked), err)
	}
	return lease, err
}

// A call is one Lock of the Client: one request to the backend, or several, one
// after the other, where a grant was lost or came too late.
type call struct {
	client *Client
	ctx    context.Context // ends with the user's, MaxWait or Close
	values context.Context // of the user's context: what the lease keeps of it
	name   string
	opts   Options
	locked bool      // the store has said, to an earlier request, that another holds the lock
	heard  time.Time // from when on the store has said nothing, as far as the requests before tell
}

// run makes requests until one is granted, ctx ends or the store refuses.
func (a *call) run() (*Lease, error) {
	for pause := firstPause; ; pause = a.client.longer(pause) {
		lease, err := a.try(a.opts.NoWait)
		if err == nil || !a.again(err) {
			return lease, err
		}
		a.client.log.Debug("lock again", "lock", a.name, "error", err)
		select {
		case <-a.ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// again says whether a failed request is followed by another: after a lost
// session or a late grant, and, for a waiter that was queued before, after an
// outage.
func (a *call) again(err error) bool {
	if a.ctx.Err() != nil || errors.Is(err, ErrClosed) || errors.Is(err, ErrLocked) {
		return false
	}
	if a.locked {
		return errors.Is(err, ErrLost) || errors.Is(err, backend.ErrUnavailable)
	}
	return errors.Is(err, ErrLost) && !errors.Is(err, errSilent)
}

// The pauses between further tries, of requests and of withdrawals.
const firstPause = 100 * time.Millisecond

func (c *Client) longer(pause time.Duration) time.Duration {
	return max(firstPause, min(2*pause, c.ttl/3))
}

// A request is one Backend.Lock, in a goroutine of its own. Its caller waits for
// the outcome or abandons it; then the goroutine cleans up after itself.
type request struct {
	call    *call
	hold    *hold
	queued  *atomic.Bool // the store has said that another holds the lock
	decided atomic.Bool  // the outcome was handed over, or abandoned: first come
	outcome chan outcome
}

type outcome struct {
	lease *Lease
	err   error
}

// try makes one request, with an owner of its own.
func (a *call) try(noWait bool) (*Lease, error) {
	c := a.client
	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	r := &request{call: a, hold: newHold(c, a.name), queued: new(atomic.Bool), outcome: make(chan outcome, 1)}
	defer func() { a.locked = r.locked() }()
	queued := r.queued // what a grant keeps of r for as long as it is held
	req := backend.Request{
		Name: a.name, Owner: rand.Text(), Note: a.opts.Note, TTL: c.ttl, NoWait: noWait,
		Queued: func() { queued.Store(true) }, Lost: r.hold.storeLost,
	}
	now := backend.Now()
	if a.locked || a.heard.IsZero() {
		a.heard = now
	}
	silence := time.NewTimer(answerWithin - now.Sub(a.heard))
	defer silence.Stop()
	if !c.begin(func() { r.send(ctx, req) }) {
		return nil, ErrClosed
	}

	for {
		select {
		case o := <-r.outcome:
			return o.lease, o.err
		case <-a.ctx.Done():
			if r.abandon() {
				return nil, a.ctx.Err()
			}
			o := <-r.outcome
			return o.lease, o.err
		case <-silence.C:
			switch {
			case r.queued.Load(): // it waits, and may do so for as long as ctx lasts
			case ctx.Err() == nil:
				cancel(errSilent)
				silence.Reset(backend.Linger(c.ttl) + time.Second)
			case r.abandon():
				return nil, errSilent
			}
		}
	}
}

var errSilent = fmt.Errorf("%w: no answer within %v", backend.ErrUnavailable, answerWithin)

func (r *request) send(ctx context.Context, req backend.Request) {
	g, err := r.call.client.backend.Lock(ctx, req)
	g, err = sound(g, err)
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		err = oneLine(errSilent, err)
	}
	if r.decided.CompareAndSwap(false, true) {
		r.outcome <- r.finish(g, err)
	} else if g != nil {
		r.call.client.withdraw(g, "its Lock had ended")
	}
}

// sound refuses what no backend may return: it would make the keeper spin or
// panic, far from the adapter whose fault it is.
func sound(g *backend.Grant, err error) (*backend.Grant, error) {
	switch {
	case g == nil && err == nil:
		err = errors.New("the backend returned neither a grant nor an error")
	case g != nil && g.Group != nil && !reflect.ValueOf(g.Group).Comparable():
		ungrouped := *g // for Withdraw
		ungrouped.Group = nil
		return &ungrouped, oneLine(err, errors.New("the backend returned a grant whose Group is not comparable"))
	case err == nil && g.TTL <= 0:
		err = errors.New("the backend returned a grant without a TTL")
	}
	return g, err
}

func (r *request) abandon() bool { return r.decided.CompareAndSwap(false, true) }

func (r *request) locked() bool { return r.call.locked || r.queued.Load() }

// finish turns the backend's answer into a lease or the error of this request.
func (r *request) finish(g *backend.Grant, err error) outcome {
	a := r.call
	if err == nil {
		a.heard = backend.Now()
		if err = r.hold.accept(a.values, g, a.opts); err == nil {
			return outcome{lease: &r.hold.lease}
		}
	}
	if g != nil {
		a.client.withdraw(g, err.Error())
	}
	return outcome{err: err}
}
