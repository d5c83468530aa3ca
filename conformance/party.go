// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// slack is what a check adds to every bound of liveness: scheduling, round
// trips, a connection made anew.
const slack = 2 * time.Second

// soon is how long what a push brings may take, or what a poll finds.
func (c *probe) soon() time.Duration { return 2*c.info.Poll + slack }

// reclaim is how long a dead holder may keep others out.
func (c *probe) reclaim() time.Duration { return c.info.Reclaim(c.ttl) + c.soon() }

// margin is how long before Grant.Until a lease ends.
func (c *probe) margin() time.Duration { return backend.Margin(c.ttl) }

// name returns the name of a lock that no other check uses.
func (c *probe) name(suffix string) string { return "conformance-" + c.tag + "-" + suffix }

// within returns a context for a call that should take no time.
func (c *probe) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(c.ctx, d)
	c.Cleanup(cancel)
	return ctx
}

// until polls a condition that should come true, and says whether it did.
func (c *probe) until(within time.Duration, condition func() bool) bool {
	for end := backend.Now().Add(within); ; {
		if condition() {
			return true
		}
		if backend.Now().After(end) {
			return false
		}
		c.pause(20 * time.Millisecond)
	}
}

// pause waits for d to pass: for what must not happen meanwhile.
func (c *probe) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.ctx.Done():
	}
}

// A party is one client of the store, as one process has it.
type party struct {
	*probe
	backend.Backend
	link Link
}

// party opens a client. It is closed when the check ends.
func (c *probe) party() *party { return c.openWith(c.h.Open) }

func (c *probe) openWith(open func(testing.TB) Client) *party {
	opened := open(stage{c})
	p := &party{c, &once{Backend: opened.Backend}, opened.Link}
	c.Cleanup(func() {
		p.heal()
		_ = p.Backend.Close()
	})
	return p
}

// heal ends every fault of the connection.
func (p *party) heal() {
	if p.link != nil {
		p.link.Delay(0)
		p.link.Inject(None)
	}
}

// linked opens a client whose connection the harness can break.
func (c *probe) linked() *party {
	p := c.party()
	if p.link == nil {
		c.skip("the harness has no Link")
	}
	return p
}

// inject breaks the connection.
func (p *party) inject(f Fault) {
	if !p.link.Inject(f) {
		p.skip("the harness's Link cannot %s", faultNames[f])
	}
}

var faultNames = map[Fault]string{
	None: "heal", DropRequests: "drop requests", DropReplies: "drop replies",
	BlackHole: "swallow everything", HoldRequests: "hold requests", Refuse: "refuse connections",
}

// once is a backend that is closed once, by the check or by what it made of it.
type once struct {
	backend.Backend
	close sync.Once
	err   error
}

func (o *once) Unwrap() backend.Backend { return o.Backend }

func (o *once) Close() error {
	o.close.Do(func() { o.err = o.Backend.Close() })
	return o.err
}

func (p *party) request(name string) backend.Request {
	return backend.Request{Name: name, Owner: rand.Text(), TTL: p.ttl}
}

// A held lock is a grant of a party.
type held struct {
	*party
	grant *backend.Grant
	at    time.Time  // when Lock returned
	lost  chan error // what Request.Lost was told

	mu    sync.Mutex
	until time.Time
	stop  func()
}

// send makes one request and checks what every answer of Lock must be.
func (p *party) send(ctx context.Context, req backend.Request) (*held, *backend.Grant, error) {
	h := &held{party: p, lost: make(chan error, 8)}
	req.Lost = func(err error) {
		select {
		case h.lost <- err:
		default:
		}
	}
	g, err := p.Lock(ctx, req)
	h.at = backend.Now()
	switch {
	case g == nil && err == nil:
		p.Fatalf("Lock returned neither a grant nor an error")
	case err != nil:
		return nil, g, err
	case g.Name != req.Name || g.Owner != req.Owner:
		p.Fatalf("Lock(%q) returned a grant of another request, for %q", req.Name, g.Name)
	case !p.info.Fencing && g.Token != 0:
		p.Fatalf("Info has no Fencing, but the grant has the token %d", g.Token)
	case p.info.Fencing && g.Token <= 0:
		p.Fatalf("Info has Fencing, but the grant has the token %d", g.Token)
	}
	h.grant, h.until, h.stop = g, g.Until, func() {}
	return h, nil, nil
}

// try locks if nobody else holds the lock.
func (p *party) try(name string) (*held, error) {
	req := p.request(name)
	req.NoWait = true
	h, g, err := p.send(p.within(15*time.Second), req)
	if g != nil {
		p.withdraw(g)
	}
	return h, err
}

// lock locks a lock that nobody else holds, and does not keep it.
func (p *party) lock(name string) *held {
	h, err := p.try(name)
	if err != nil {
		p.fail(err, "Lock with NoWait of a lock that nobody holds")
	}
	return h
}

// hold locks a lock that nobody else holds, and keeps it until unlock.
func (p *party) hold(name string) *held {
	h := p.lock(name)
	h.keep()
	return h
}

// excludes fails unless p finds the lock held.
func (h *held) excludes(p *party, why string) {
	second, err := p.try(h.grant.Name)
	switch {
	case err == nil:
		stillHeld := h.live()
		_ = p.Unlock(p.within(p.soon()), second.grant)
		h.doubled(stillHeld, why)
	case !errors.Is(err, backend.ErrLocked):
		p.fail(err, "%s: Lock with NoWait of a lock that another holds, want ErrLocked", why)
	}
}

// doubled ends the check because another was granted h's lock. If h had expired
// by then, since this machine stood still, that is no failure of safety.
func (h *held) doubled(stillHeld bool, why string) {
	if stillHeld {
		h.Fatalf("two holders: the lock was granted to a second one: %s", why)
	}
	h.late("the holder's grant expired during the check: %s", why)
}

// mustBeFree fails unless nobody holds the lock.
func (p *party) mustBeFree(name, why string) {
	h, err := p.try(name)
	if err != nil {
		p.fail(err, "the lock is not free: %s", why)
	}
	h.unlock()
}

// mustGet locks a lock that should be free within d.
func (p *party) mustGet(name string, d time.Duration, why string) *held {
	var h *held
	var err error
	if !p.until(d, func() bool { h, err = p.try(name); return err == nil }) {
		p.late("nobody could lock within %v: %s: %v", d, why, err)
	}
	return h
}

// keep renews the grant until it is unlocked or the check ends.
func (h *held) keep() {
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(h.ttl / 4):
			}
			_ = h.renew(ctx)
		}
	}()
	h.stop = func() { cancel(); <-done }
	h.Cleanup(h.stop)
}

// renew renews the grant once.
func (h *held) renew(ctx context.Context) error {
	start := backend.Now()
	results := h.Renew(ctx, []*backend.Grant{h.grant})
	if len(results) != 1 {
		h.Errorf("Renew of one grant returned %d results", len(results))
		return nil
	}
	r := results[0]
	if r.Err != nil {
		return r.Err
	}
	if r.Until.IsZero() {
		r.Until = start.Add(h.grant.TTL)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.until.IsZero() && r.Until.After(h.until) {
		h.until = r.Until
	}
	return nil
}

// deadline returns when a lease of the grant would end; zero: never.
func (h *held) deadline() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.until.IsZero() {
		return h.until
	}
	return h.until.Add(-backend.Margin(h.grant.TTL))
}

// live says whether a lease of the grant would still hold.
func (h *held) live() bool {
	d := h.deadline()
	return d.IsZero() || backend.Now().Before(d)
}

// unlock releases the lock, which must be held.
func (h *held) unlock() {
	h.stop()
	err := h.Unlock(h.within(h.soon()), h.grant)
	switch {
	case err == nil:
	case h.live() && errors.Is(err, backend.ErrLost):
		h.Fatalf("Unlock of a lock that is held, for %v more: %v", h.deadline().Sub(backend.Now()), err)
	default:
		h.fail(err, "Unlock of a lock that is held")
	}
}

// withdraw does what the Client does: it tries until the backend says nil.
func (p *party) withdraw(g *backend.Grant) {
	var err error
	ok := p.until(p.reclaim(), func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, backend.Linger(p.ttl))
		defer cancel()
		err = p.Withdraw(ctx, g)
		return err == nil
	})
	if !ok {
		p.late("Withdraw did not succeed within %v: %v", p.reclaim(), err)
	}
}
