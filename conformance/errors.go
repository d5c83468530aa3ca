// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var clearErrors = []check{
	{
		name: "Locked",
		rule: "NoWait on a lock that another holds is ErrLocked, at once, and names the operation, the backend and the lock. Otherwise a job that runs elsewhere looks like an outage.",
		run: func(c *probe) {
			p, a, name := c.party(), c.party().application(), c.name("locked")
			h := p.hold(name)
			start := backend.Now()
			_, err := a.Client.Lock(c.ctx, name, locker.NoWait())
			c.granted(err, h)
			if !errors.Is(err, locker.ErrLocked) {
				c.Fatalf("Client.Lock with NoWait: %v, want ErrLocked", err)
			}
			if took := backend.Now().Sub(start); took > slack {
				c.late("NoWait took %v", took)
			}
			for _, part := range []string{"lock", c.info.Name, name} {
				if !strings.Contains(err.Error(), part) {
					c.Fatalf("the error %q does not name %q", err, part)
				}
			}
			h.unlock()
		},
	},
	{
		name: "FreeIsNotLocked",
		rule: "NoWait on a lock that nobody holds is granted. Otherwise a job does not run, though it runs nowhere.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("free")
			p.mustBeFree(name, "nobody ever had it")
			for range 10 {
				q.mustBeFree(name, "its holder had unlocked before")
				p.mustBeFree(name, "its holder had unlocked before")
			}
		},
	},
	{
		name: "EndedContext",
		rule: "The error of a Lock whose context has ended Is ctx.Err() and the context's cause, and not ErrLocked.",
		run: func(c *probe) {
			a, name := c.party().application(), c.name("ended")
			cause := errors.New("a cause")
			ctx, cancel := context.WithCancelCause(c.ctx)
			cancel(cause)
			_, err := a.Client.Lock(ctx, name)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) || errors.Is(err, locker.ErrLocked) {
				c.Fatalf("Client.Lock with an ended context: %v", err)
			}
		},
	},
	{
		name: "G9a_CancelledWaiter",
		rule: "The error of a wait that was cancelled Is ctx.Err(), the context's cause, and ErrLocked, since the store has said that another holds the lock.",
		run: func(c *probe) {
			p, a, name := c.party(), c.party().application(), c.name("cancelled")
			h := p.hold(name)
			cause := errors.New("a cause")
			ctx, cancel := context.WithCancelCause(c.ctx)
			call := a.callBehind(ctx, h)
			cancel(cause)
			_, err := a.result(call, slack, "its context ended")
			c.granted(err, h)
			if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
				c.Fatalf("Client.Lock that was cancelled: %v, want context.Canceled and the cause", err)
			}
			if !errors.Is(err, locker.ErrLocked) {
				c.Fatalf("Client.Lock that was cancelled: %v, want ErrLocked as well", err)
			}
			h.unlock()
		},
	},
	{
		name: "MaxWait",
		rule: "A wait that is longer than MaxWait ends then, with DeadlineExceeded and ErrLocked.",
		run: func(c *probe) {
			p, a, name := c.party(), c.party().application(), c.name("maxwait")
			h := p.hold(name)
			wait := 2*c.info.Poll + 400*time.Millisecond
			start := backend.Now()
			call := a.call(c.ctx, name, locker.MaxWait(wait))
			_, err := a.result(call, wait+slack, "MaxWait passed")
			c.granted(err, h)
			if !errors.Is(err, context.DeadlineExceeded) {
				c.Fatalf("Client.Lock after MaxWait: %v, want context.DeadlineExceeded", err)
			}
			if took := backend.Now().Sub(start); took < wait {
				c.Fatalf("Client.Lock with MaxWait(%v) returned after %v: %v", wait, took, err)
			}
			if !errors.Is(err, locker.ErrLocked) {
				c.late("Client.Lock after MaxWait: %v, want ErrLocked as well", err)
			}
			h.unlock()
		},
	},
	{
		name: "SPIQueued",
		rule: "Request.Queued is called once if Lock waits, and not at all if it was granted at once. Otherwise the Client reports a lock as held by another that nobody held.",
		run: func(c *probe) {
			if c.info.Poll > 0 {
				return // Lock never waits
			}
			p, q, name := c.party(), c.party(), c.name("queued")
			w := p.start(name)
			a := w.granted(c.soon(), "nobody holds it")
			if w.times != 0 {
				c.Fatalf("Queued was called %d times by a Lock that was granted at once", w.times)
			}
			a.keep()
			w2 := q.wait(a)
			c.pause(c.ttl / 2)
			a.unlock()
			w2.granted(c.soon(), "the holder unlocked")
			if w2.times != 1 {
				c.Fatalf("Queued was called %d times by one Lock", w2.times)
			}
		},
	},
	{
		name: "G9a_Unreachable",
		rule: "A store that does not answer is never reported as ErrLocked or ErrLost, and Lock ends within 15 s without a deadline of the user's. Otherwise an outage looks as if the job ran elsewhere.",
		run:  func(c *probe) { unreachable(c, BlackHole) },
	},
	{
		name: "G9a_Refused",
		rule: "A store that refuses connections is never reported as ErrLocked or ErrLost, and Lock ends within 15 s without a deadline of the user's.",
		run:  func(c *probe) { unreachable(c, Refuse) },
	},
	{
		name: "Refusals", needs: needRefusals,
		rule: "What the store refuses (a password, a certificate) is an error that says so, soon: neither ErrLocked nor ErrLost. Otherwise a wrong configuration looks like a busy lock.",
		run: func(c *probe) {
			for _, what := range slices.Sorted(maps.Keys(c.h.Refusals)) {
				start := backend.Now()
				err := c.h.Refusals[what](c.within(30 * time.Second))
				switch {
				case err == nil:
					c.Errorf("%s: no error", what)
				case errors.Is(err, locker.ErrLocked) || errors.Is(err, locker.ErrLost):
					c.Errorf("%s: %v", what, err)
				case backend.Now().Sub(start) > 15*time.Second+slack:
					c.record(failure{what + " took longer than 15 s", true})
				}
				c.noSecret(errorText(err))
			}
		},
	},
	{
		name: "Inspect",
		rule: "Inspect, where the backend has it, tells who holds a lock and that nobody does; elsewhere it is ErrUnsupported. Otherwise an operator breaks the wrong lock.",
		run:  inspect,
	},
	{
		name: "Closed",
		rule: "Lock after Close is ErrClosed.",
		run: func(c *probe) {
			a := c.party().application()
			if err := a.Client.Close(); err != nil {
				c.late("Close: %v", err)
			}
			if _, err := a.Client.Lock(c.ctx, c.name("closed")); !errors.Is(err, locker.ErrClosed) {
				c.Fatalf("Client.Lock after Close: %v, want ErrClosed", err)
			}
		},
	},
}

func inspect(c *probe) {
	a, q, name := c.party().application(), c.party(), c.name("inspect")
	_, can := backend.As[backend.Inspector](a.spy)
	see := func() (backend.State, bool) {
		state, err := locker.Inspect(c.within(c.soon()), a.Client, name)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return state, false // perhaps on this system only
		case err != nil:
			c.fail(err, "Inspect")
		case !can:
			c.Fatalf("Inspect of a backend that is no Inspector: %+v, want ErrUnsupported", state)
		}
		return state, true
	}
	if state, ok := see(); !ok {
		c.pass()
	} else if state.Held {
		c.Fatalf("Inspect of a lock that nobody ever had: %+v", state)
	}
	lease := a.take(name, locker.Note("the note"))
	w := q.start(name)
	var state backend.State
	ok := c.until(c.soon(), func() bool { state, _ = see(); return state.Waiters != 0 || c.info.Poll > 0 })
	switch {
	case lease.Err() != nil:
		c.late("the lease ended: %v", lease.Err())
	case !state.Held || state.Note != "the note" || state.Token != lease.Token():
		c.Fatalf("Inspect of a lock held with the token %d and a note: %+v", lease.Token(), state)
	case !ok || state.Waiters > 1:
		c.late("Inspect of a lock that one waits for: %+v", state)
	}
	w.end()
	if err := a.Client.Unlock(c.ctx, lease); err != nil {
		c.late("Unlock: %v", err)
	}
	if state, _ := see(); state.Held || state.Waiters > 0 {
		c.Fatalf("Inspect of a lock that was unlocked: %+v", state)
	}
}

// granted ends the check if a second Lock succeeded while h held the lock.
func (c *probe) granted(err error, h *held) {
	if err == nil {
		h.doubled(h.live(), "by Client.Lock")
	}
}

func unreachable(c *probe, fault Fault) {
	p := c.linked()
	a := p.application()
	if _, err := a.Client.Lock(c.within(c.soon()), c.name("before"), locker.NoWait()); err != nil {
		c.late("Lock: %v", err)
	}
	q := c.linked()
	q.lock(c.name("spi")).unlock()
	p.inject(fault)
	q.inject(fault)
	bad := func(how string, err error) {
		switch {
		case err == nil:
			c.Fatalf("%s was granted without the store", how)
		case errors.Is(err, locker.ErrLocked):
			c.Fatalf("%s returned %v: the store cannot have said that another holds the lock", how, err)
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
	defer cancel()
	_, err := a.Client.Lock(ctx, c.name("short"))
	bad("Client.Lock", err)
	req := q.request(c.name("spi"))
	req.NoWait = true
	_, _, err = q.send(c.within(300*time.Millisecond), req)
	bad("Backend.Lock", err)
	calls := map[string]*pending{
		"Client.Lock with NoWait": a.call(c.ctx, c.name("nowait"), locker.NoWait()),
		"Client.Lock":             a.call(c.ctx, c.name("wait")),
	}
	for how, call := range calls {
		_, err := a.result(call, 15*time.Second+slack, how+" without the store")
		bad(how, err)
		if !errors.Is(err, backend.ErrUnavailable) {
			c.Fatalf("%s without the store returned %v, which does not wrap backend.ErrUnavailable", how, err)
		}
	}
}
