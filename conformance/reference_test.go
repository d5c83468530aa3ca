// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A bug is a way in which the reference backend can be made wrong.
type bug string

type bugs map[bug]bool

const (
	doubleGrant       bug = "grants twice"
	reentrant         bug = "grants again to the client that holds"
	sameToken         bug = "repeats the token"
	tokenInKey        bug = "counts tokens from one again after an expiry"
	resurrectingRenew bug = "Renew brings back what has expired"
	lyingRenew        bug = "Renew of what is gone says nothing"
	deleteAny         bug = "Unlock deletes whoever holds"
	blindUnlock       bug = "Unlock of what is gone is nil"
	forgetful         bug = "forgets what its client holds when a waiter beside it leaves"
	leakyCancel       bug = "a cancelled waiter stays in the queue"
	loseWakeUp        bug = "wake-ups get lost"
	muteLoss          bug = "a loss is never told"
	wakeNeighbour     bug = "a waiter takes the end of its neighbour for its turn"
	stuckBehindDead   bug = "a dead waiter stays first"
	lifo              bug = "serves the last first"
	guessLocked       bug = "says ErrLocked when it heard nothing"
	foldCase          bug = "folds the case of names"
	sharePath         bug = "trims slashes off names"
	noTombstone       bug = "Withdraw does not fence a late request"
	queueNoWait       bug = "NoWait queues"
	zombieSession     bug = "renews a session that it gave up"
	lyingNoWait       bug = "NoWait of a free lock says ErrLocked"
	secretError       bug = "errors quote the owner"
	withdrawAny       bug = "Withdraw removes whoever holds"
	receiveTime       bug = "Until counts from the answer"
	optimist          bug = "Renew reports what was not acknowledged"
	lossForSilence    bug = "Renew says ErrLost when it heard nothing"
	leakGoroutine     bug = "Close leaves a goroutine"
	chattyRenew       bug = "renews each grant by itself"
	herd              bug = "wakes all waiters at each unlock"
	alarmingUnlock    bug = "Unlock is told as a loss"
	staleInspect      bug = "Inspect shows a holder that unlocked"
	leakConnection    bug = "Close leaves a connection"
	queuedAlways      bug = "calls Queued when it was granted at once"
	stubborn          bug = "a waiter whose connection was reset is not woken"
	crowdedTry        bug = "a try costs more, the more have tried"
	polling           bug = "has to be polled, which is no fault"
	nilGrant          bug = "says that nothing is left when it does not know"
)

// A reference is a client of the reference backend. With sessions, all its
// requests hang on one session, which it keeps alive; without, each request has
// one of its own, which Renew extends.
type reference struct {
	store    *store
	link     *link
	sessions bool
	bugs     bugs
	ctx      context.Context
	cancel   context.CancelFunc
	loops    sync.WaitGroup

	mu   sync.Mutex
	live *lifetime // the session in use
}

// A lifetime is a session as its client sees it.
type lifetime struct {
	id    string
	ttl   time.Duration
	mu    sync.Mutex
	until time.Time
	dead  chan struct{}
}

func newReference(s *store, sessions bool) (*reference, *link) {
	l := newLink()
	r := &reference{store: s, link: l, sessions: sessions, bugs: s.bugs}
	s.join(l)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, l
}

func (r *reference) Info() backend.Info {
	info := backend.Info{
		Name: "reference", Fencing: true, Fair: true, MinTTL: 200 * time.Millisecond, MaxTTL: time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return ttl },
	}
	if r.bugs[polling] || r.bugs[crowdedTry] {
		info.Fair, info.Poll = false, 50*time.Millisecond
	}
	return info
}

// session returns the session of a request, and makes it if need be.
func (r *reference) session(ctx context.Context, owner string, ttl time.Duration) (*lifetime, error) {
	if !r.sessions {
		return r.newSession(ctx, owner, ttl)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live != nil {
		select {
		case <-r.live.dead:
		default:
			return r.live, nil
		}
	}
	x, err := r.newSession(ctx, rand.Text(), ttl)
	if err != nil {
		return nil, err
	}
	r.live = x
	r.loops.Go(func() { r.keepAlive(x) })
	return x, nil
}

func (r *reference) newSession(ctx context.Context, id string, ttl time.Duration) (*lifetime, error) {
	x := &lifetime{id: id, ttl: ttl, dead: make(chan struct{}), until: backend.Now().Add(ttl)}
	err := r.link.call(ctx, func() { r.store.touch(id, ttl, true) })
	if r.bugs[receiveTime] {
		x.until = backend.Now().Add(ttl)
	}
	return x, err
}

func (x *lifetime) deadline() time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.until
}

// extend renews the session, unless it is dead.
func (r *reference) extend(ctx context.Context, x *lifetime) error {
	sent, alive := backend.Now(), false
	if sent.After(x.deadline().Add(-backend.Margin(x.ttl))) && !r.bugs[zombieSession] && !r.bugs[resurrectingRenew] && !r.bugs[lyingRenew] {
		return backend.ErrLost
	}
	err := r.link.call(ctx, func() { alive = r.store.touch(x.id, x.ttl, false) })
	switch {
	case err != nil && r.bugs[optimist]:
	case err != nil && r.bugs[lossForSilence]:
		return backend.ErrLost
	case err != nil:
		return err
	case !alive:
		return backend.ErrLost
	}
	if r.bugs[receiveTime] {
		sent = backend.Now()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.until = sent.Add(x.ttl)
	return nil
}

func (r *reference) keepAlive(x *lifetime) {
	defer close(x.dead)
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(x.ttl / 6):
		}
		ctx, cancel := context.WithTimeout(r.ctx, x.ttl/6)
		err := r.extend(ctx, x)
		cancel()
		if errors.Is(err, backend.ErrLost) {
			r.loops.Go(func() { r.abandon(x) })
			return
		}
	}
}

// abandon destroys a session that is dead for us, as soon as it can.
func (r *reference) abandon(x *lifetime) {
	for {
		ctx, cancel := context.WithTimeout(r.ctx, x.ttl/6)
		err := r.link.call(ctx, func() { r.store.destroy(x.id) })
		cancel()
		if err == nil {
			return
		}
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(x.ttl / 6):
		}
	}
}

// sys is what a grant carries.
type sys struct {
	life *lifetime
	told *inbox
}

// An inbox takes what the store pushes to one request.
type inbox struct {
	wake chan struct{}

	mu   sync.Mutex
	lost func(error) // once granted
}

func (b *inbox) push(x event) {
	b.mu.Lock()
	lost := b.lost
	b.mu.Unlock()
	if x.lost && lost != nil {
		go lost(backend.ErrLost)
		return
	}
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) granted(lost func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = lost
}

func (r *reference) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	wire, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	told := &inbox{wake: make(chan struct{}, 1)}
	x, err := r.session(wire, req.Owner, req.TTL)
	if err != nil && r.sessions {
		return nil, r.fail(err, req)
	}
	g := &backend.Grant{Request: req, Group: r.group(x), Sys: &sys{x, told}}
	if err != nil {
		return g, r.fail(err, req) // the session is the request's own
	}
	waiting := false
	for {
		var v verdict
		reset := r.link.reset()
		if err := r.link.call(wire, func() { v = r.store.lock(req, x.id, r.link, told) }); err != nil {
			if waiting && ctx.Err() == nil {
				if again := r.waitABit(ctx); again {
					continue
				}
			}
			if r.bugs[nilGrant] {
				return nil, r.fail(err, req)
			}
			return g, r.fail(err, req)
		}
		switch v.state {
		case "granted":
			if r.bugs[queuedAlways] && !waiting && req.Queued != nil {
				req.Queued()
			}
			return r.accept(g, v.token, x), nil
		case "locked":
			for range v.tries / 10 {
				_ = r.link.call(wire, func() {})
			}
			r.dropOwn(wire, x)
			return nil, r.fail(backend.ErrLocked, req)
		case "gone", "nosession":
			return nil, fmt.Errorf("%w: the request is %s", backend.ErrLost, v.state)
		}
		if !waiting && req.Queued != nil {
			req.Queued()
		}
		waiting = true
		again, err := r.await(ctx, wire, x, told, reset)
		if !again {
			return r.giveUp(wire, g, x, err)
		}
	}
}

func (r *reference) waitABit(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

// await waits for a push, and keeps the request's session meanwhile.
func (r *reference) await(ctx, wire context.Context, x *lifetime, told *inbox, reset <-chan struct{}) (again bool, err error) {
	for {
		tick := time.NewTimer(x.ttl / 4)
		select {
		case <-told.wake:
			tick.Stop()
			return true, nil
		case <-reset:
			tick.Stop()
			if r.bugs[stubborn] {
				reset = nil
				continue
			}
			return true, nil
		case <-ctx.Done():
			tick.Stop()
			return false, ctx.Err()
		case <-x.dead:
			return false, backend.ErrLost
		case <-tick.C:
		}
		if r.sessions {
			continue
		}
		short, cancel := context.WithTimeout(wire, x.ttl/4)
		err := r.extend(short, x)
		cancel()
		if errors.Is(err, backend.ErrLost) {
			return false, err
		}
	}
}

// giveUp takes a request out of the queue.
func (r *reference) giveUp(wire context.Context, g *backend.Grant, x *lifetime, cause error) (*backend.Grant, error) {
	if r.bugs[leakyCancel] {
		return nil, cause
	}
	if err := r.link.call(wire, func() { r.store.leave(g, r.link) }); err != nil {
		return g, fmt.Errorf("%w: %w", cause, r.fail(err, g.Request))
	}
	r.dropOwn(wire, x)
	return nil, cause
}

// dropOwn ends the session of a request that ended.
func (r *reference) dropOwn(ctx context.Context, x *lifetime) {
	if !r.sessions {
		_ = r.link.call(ctx, func() { r.store.destroy(x.id) })
	}
}

func (r *reference) group(x *lifetime) any {
	if r.sessions {
		return x
	}
	return r
}

func (r *reference) accept(g *backend.Grant, token int64, x *lifetime) *backend.Grant {
	g.Token, g.Until = token, x.deadline()
	g.Sys.(*sys).told.granted(g.Lost)
	return g
}

func (r *reference) fail(err error, req backend.Request) error {
	if r.bugs[secretError] {
		return fmt.Errorf("%w (owner %s)", err, req.Owner)
	}
	if r.bugs[guessLocked] && errors.Is(err, backend.ErrUnavailable) {
		return fmt.Errorf("%w: %w", backend.ErrLocked, err)
	}
	return err
}

func (r *reference) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	results := make([]backend.Renewal, len(grants))
	if r.sessions {
		err := r.extend(ctx, grants[0].Sys.(*sys).life)
		states := make([]verdict, len(grants))
		if err == nil {
			err = r.link.call(ctx, func() {
				for i, g := range grants {
					states[i] = r.store.where(g.Owner, g.Name)
				}
			})
		}
		for i, g := range grants {
			var v verdict
			if err == nil {
				v = states[i] // else the store may still be writing it
			}
			results[i] = r.verified(g, v, err)
		}
		return results
	}
	if r.bugs[chattyRenew] {
		for i, g := range grants {
			results[i] = backend.Renewal{Err: r.extend(ctx, g.Sys.(*sys).life), Until: g.Sys.(*sys).life.deadline()}
		}
		return results
	}
	sent := backend.Now()
	states := make([]error, len(grants))
	err := r.link.call(ctx, func() {
		for i, g := range grants {
			states[i] = r.renewInStore(g)
		}
	})
	if r.bugs[receiveTime] {
		sent = backend.Now()
	}
	for i, g := range grants {
		switch {
		case err != nil && r.bugs[optimist]:
			results[i] = backend.Renewal{Until: sent.Add(g.TTL)}
		case err != nil && r.bugs[lossForSilence]:
			results[i].Err = backend.ErrLost
		case err != nil:
			results[i].Err = err
		case states[i] != nil:
			results[i].Err = states[i]
		default:
			results[i].Until = sent.Add(g.TTL)
		}
	}
	return results
}

// renewInStore is a part of a batch.
func (r *reference) renewInStore(g *backend.Grant) error {
	x := g.Sys.(*sys)
	if r.bugs[resurrectingRenew] {
		r.store.resurrect(g, x.life.id, r.link, x.told)
	}
	if r.store.where(g.Owner, g.Name).state != "granted" || !r.store.touch(x.life.id, g.TTL, false) {
		if r.bugs[lyingRenew] || r.bugs[muteLoss] {
			return nil
		}
		return backend.ErrLost
	}
	return nil
}

func (r *reference) verified(g *backend.Grant, v verdict, err error) backend.Renewal {
	switch {
	case r.bugs[lyingRenew] || r.bugs[muteLoss] || r.bugs[optimist]:
	case err != nil:
		return backend.Renewal{Err: err}
	case v.state == "gone":
		return backend.Renewal{Err: backend.ErrLost}
	}
	return backend.Renewal{Until: g.Sys.(*sys).life.deadline()}
}

func (r *reference) Unlock(ctx context.Context, g *backend.Grant) error {
	found := false
	if r.bugs[alarmingUnlock] && g.Lost != nil {
		g.Lost(backend.ErrLost)
	}
	if err := r.link.call(ctx, func() { found = r.store.delete(g.Owner, g.Name) }); err != nil {
		return r.fail(err, g.Request)
	}
	r.dropOwn(ctx, g.Sys.(*sys).life)
	if !found && !r.bugs[blindUnlock] {
		return r.fail(backend.ErrLost, g.Request)
	}
	return nil
}

func (r *reference) Withdraw(ctx context.Context, g *backend.Grant) error {
	if err := r.link.call(ctx, func() { r.store.withdraw(g.Owner, g.Name) }); err != nil {
		return r.fail(err, g.Request)
	}
	r.dropOwn(ctx, g.Sys.(*sys).life)
	return nil
}

func (r *reference) Inspect(ctx context.Context, name string) (state backend.State, err error) {
	found := make(chan backend.State, 1)
	if err := r.link.call(ctx, func() { found <- r.store.inspect(name) }); err != nil {
		return state, err
	}
	return <-found, nil
}

func (r *reference) Close() error {
	if r.bugs[leakGoroutine] {
		go func() { <-time.After(time.Minute) }()
	}
	r.mu.Lock()
	x := r.live
	r.live = nil
	r.mu.Unlock()
	if x != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = r.link.call(ctx, func() { r.store.destroy(x.id) })
	}
	r.cancel()
	r.loops.Wait()
	if !r.bugs[leakConnection] {
		r.link.close()
	}
	return nil
}
