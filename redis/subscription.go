// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
)

// A subscription is this client's one connection for pushes from one server,
// and its re-runs for those who wait there. Two goroutines serve it: listen
// reads, tend does all the rest. It begins with the first waiter and ends with
// the Backend; in a cluster, also when its node fails and nobody waits.
//
// Its fields are guarded by Backend.mu.
type subscription struct {
	b    *Backend
	node string                                  // "" outside a cluster
	open func(ctx context.Context) *redis.PubSub // without channels
	poke chan struct{}                           // holds one: tend has something to do

	pubsub   *redis.PubSub // nil between two connections
	epoch    uint64        // of the present connection; unique in the Backend
	unheard  int           // pings since anything was heard
	channels map[string]*channel
	unwanted []string // subscribed to, and not wanted any more
}

// A channel is one that a subscription wants.
type channel struct {
	waiters   map[string]*waiter // by owner
	asked     uint64             // the epoch in which it was subscribed to
	confirmed uint64             // the epoch in which the server said so
}

// epoch returns that of the subscription which would bring a push for w; zero
// if none is confirmed.
func (w *waiter) epoch() uint64 {
	if w.sub == nil {
		return 0
	}
	return w.sub.channels[w.channel].confirmed
}

// expect registers w with the subscription there is, if any, before its first
// script is sent: the push may come before the script's answer.
func (b *Backend) expect(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		if c := s.channels[w.channel]; c != nil {
			w.sub, c.waiters[w.Owner] = s, w
			return
		}
	}
}

// join makes w, which the store has queued, hear of its grant and show that it
// lives.
func (b *Backend) join(w *waiter) {
	node, open := b.nodeOf(w.keys)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	w.queued = true
	if w.sub == nil {
		b.place(w, node, open)
	}
	w.sub.wake()
}

// place puts w under the subscription of node, which it starts if need be.
func (b *Backend) place(w *waiter, node string, open func(context.Context) *redis.PubSub) {
	s := b.subs[node]
	if s == nil {
		s = &subscription{b: b, node: node, open: open, poke: make(chan struct{}, 1), channels: map[string]*channel{}}
		b.subs[node] = s
		ctx, cancel := context.WithCancel(b.life)
		b.goroutines.Go(func() { s.tend(ctx) })
		b.goroutines.Go(func() {
			defer cancel()
			s.listen(ctx)
		})
	}
	c := s.channels[w.channel]
	if c == nil {
		c = &channel{waiters: map[string]*waiter{}}
		s.channels[w.channel] = c
	}
	w.sub, c.waiters[w.Owner] = s, w
	w.due = c.confirmed != 0 // its push may have been missed already
}

// leave forgets w. In a cluster a channel goes with its last waiter; elsewhere
// there is but one, for all names.
func (b *Backend) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := w.sub
	if s == nil {
		return
	}
	c := s.channels[w.channel]
	delete(c.waiters, w.Owner)
	w.sub = nil
	if b.cluster != nil && len(c.waiters) == 0 {
		delete(s.channels, w.channel)
		if s.pubsub != nil && c.asked == s.epoch {
			s.unwanted = append(s.unwanted, w.channel)
			s.wake()
		}
	}
}

func (s *subscription) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// tend subscribes to what is wanted, and re-runs the scripts of the waiters:
// all of them in every tick, and at once those who may have missed a push.
func (s *subscription) tend(ctx context.Context) {
	var next time.Time // of the next tick; zero: nobody waits
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.poke:
		case <-timer.C:
		}
		tick := !next.IsZero() && !backend.Now().Before(next)
		if tick {
			next = time.Time{}
		}
		s.subscribe(ctx, tick)
		s.rerun(ctx, tick)

		if every := s.tick(); every == 0 {
			next = time.Time{}
		} else if at := backend.Now().Add(every); next.IsZero() || at.Before(next) {
			next = at
		}
		timer.Reset(time.Hour)
		if !next.IsZero() {
			timer.Reset(next.Sub(backend.Now()))
		}
	}
}

// tick returns how often the waiters have to show that they live; zero if
// nobody waits.
func (s *subscription) tick() time.Duration {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	var least time.Duration
	for w := range s.waiters() {
		if every := claimTTL(w.TTL) / 3; least == 0 || every < least {
			least = every
		}
	}
	return least
}

// waiters yields those whom the store has queued.
func (s *subscription) waiters() func(yield func(*waiter) bool) {
	return func(yield func(*waiter) bool) {
		for _, c := range s.channels {
			for _, w := range c.waiters {
				if w.queued && !yield(w) {
					return
				}
			}
		}
	}
}

// subscribe asks for the channels that the present connection lacks. In a tick
// it also pings, and gives up a connection that was silent for two.
func (s *subscription) subscribe(ctx context.Context, tick bool) {
	s.b.mu.Lock()
	ps, silent := s.pubsub, false
	unwanted := s.unwanted
	s.unwanted = nil
	var lacking []string
	if ps != nil {
		for name, c := range s.channels {
			if c.asked != s.epoch {
				c.asked = s.epoch
				lacking = append(lacking, name)
			}
		}
		if tick {
			silent = s.unheard >= 2
			s.unheard++
		}
	}
	s.b.mu.Unlock()

	switch {
	case ps == nil:
		return
	case silent:
		_ = ps.Close() // listen sees it and opens another
		return
	}
	if len(unwanted) > 0 {
		_ = ps.SUnsubscribe(ctx, unwanted...)
	}
	for _, name := range lacking { // one by one: their slots differ
		if s.b.cluster != nil {
			_ = ps.SSubscribe(ctx, name) // listen sees the error, too
		} else {
			_ = ps.Subscribe(ctx, name)
		}
	}
	if tick {
		_ = ps.Ping(ctx)
	}
}

// rerun runs the scripts of those who are due, in a tick of all.
func (s *subscription) rerun(ctx context.Context, tick bool) {
	s.b.mu.Lock()
	var due []*waiter
	for w := range s.waiters() {
		if w.due || tick {
			w.due = false
			due = append(due, w)
		}
	}
	s.b.mu.Unlock()
	if len(due) == 0 {
		return
	}
	for i, r := range s.b.askAll(ctx, due) {
		due[i].deliver(r)
	}
}

// listen reads what the server pushes, on one connection after the other.
func (s *subscription) listen(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		if heard := s.session(ctx); heard {
			pause = firstPause
		}
		s.lost()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		if s.b.cluster != nil && s.move() {
			return
		}
	}
}

// session reads from one connection until it fails, and reports whether
// anything came.
func (s *subscription) session(ctx context.Context) (heard bool) {
	ps := s.open(ctx)
	s.b.mu.Lock()
	s.b.epochs++
	s.pubsub, s.epoch, s.unheard = ps, s.b.epochs, 0
	s.b.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = ps.Close() })
	defer func() {
		stop()
		_ = ps.Close()
	}()

	s.wake()
	for {
		msg, err := ps.Receive(ctx)
		if err != nil {
			return heard
		}
		heard = true
		read := backend.Now()
		s.b.mu.Lock()
		s.unheard = 0
		s.b.mu.Unlock()
		switch msg := msg.(type) {
		case *redis.Subscription:
			if !s.confirm(msg) {
				return heard
			}
		case *redis.Message:
			s.dispatch(msg, read)
		}
	}
}

// confirm takes the server's word on a channel. It returns false if the server
// took away a channel that is wanted: its slot has moved.
func (s *subscription) confirm(msg *redis.Subscription) bool {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	c := s.channels[msg.Channel]
	switch {
	case c == nil || c.asked != s.epoch:
		return true
	case strings.HasSuffix(msg.Kind, "unsubscribe"):
		return c.confirmed != s.epoch // an old one, of a channel that came back
	}
	c.confirmed = s.epoch
	for _, w := range c.waiters {
		w.due = true
	}
	s.wake()
	return true
}

func (s *subscription) dispatch(msg *redis.Message, read time.Time) {
	p, ok := parsePush(msg.Payload)
	if !ok {
		return
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	if c := s.channels[msg.Channel]; c != nil && c.waiters[p.owner] != nil {
		p.read, p.epoch = read, c.confirmed
		c.waiters[p.owner].push(p)
	}
}

// lost forgets the connection, so that no push is dated by it.
func (s *subscription) lost() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.pubsub, s.unwanted = nil, nil
	for _, c := range s.channels {
		c.asked, c.confirmed = 0, 0
	}
	if s.b.cluster != nil {
		s.b.cluster.ReloadState(s.b.life) // in the background
	}
}

// move takes the waiters whose slots are another node's by now there. It
// returns true, and ends the subscription, if none is left.
func (s *subscription) move() bool {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, c := range s.channels {
		for _, w := range c.waiters {
			if node, open := b.nodeOf(w.keys); node != s.node {
				delete(s.channels, name)
				b.place(w, node, open)
			}
		}
	}
	if len(s.channels) > 0 {
		return false
	}
	delete(b.subs, s.node)
	return true
}
