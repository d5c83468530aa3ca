// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

const (
	silentTries  = 3                      // exchanges without any answer that end a Lock which is not queued
	firstPause   = 100 * time.Millisecond // between two tries, doubling
	longestPause = 2 * time.Second
	foreignPause = 250 * time.Millisecond // between two looks at a holder that will not tell us
)

// A waiter is one call of Lock while it runs.
type waiter struct {
	*request
	news chan struct{} // holds one: there is something to take

	// guarded by Backend.mu
	sub    *subscription // by which it would hear; nil: it would not
	queued bool          // the store queued it, so it has to show that it lives
	due    bool          // its script is to run again before the next tick

	mu     sync.Mutex
	last   answer // to the script that was sent last
	pushed *push
	rerun  bool  // an answer or a refusal came by a re-run
	err    error // the refusal
}

// Lock runs the lock script, and waits for a push if it is queued.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	exchange, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	if err := b.ready(exchange); err != nil {
		return nil, err
	}
	keys := keysOf(b.cfg.Prefix, backend.Escape(req.Name))
	w := &waiter{
		request: &request{Request: req, keys: keys, channel: b.channelOf(keys), place: "0"},
		news:    make(chan struct{}, 1),
	}
	b.expect(w)
	defer b.leave(w)

	a, err := b.wait(ctx, exchange, w)
	node, _ := b.nodeOf(keys)
	g := &backend.Grant{Request: req, Group: node, Sys: w.request}
	if err == nil {
		w.granted()
		g.Token, g.Until = a.token, a.until()
		return g, nil
	}
	if w.remains() {
		return g, err
	}
	return nil, err
}

// wait returns the answer that granted the lock. ctx bounds the waiting,
// exchange what is sent.
func (b *Backend) wait(ctx, exchange context.Context, w *waiter) (answer, error) {
	pause, silent, queued := firstPause, 0, false
	a, err := b.ask(exchange, w)
	for {
		var next time.Duration // until w asks by itself; negative: it does not
		f := fateOf(err)
		switch {
		case err == nil && a.status == "granted":
			return a, nil
		case err == nil && a.status == "locked":
			return answer{}, backend.ErrLocked
		case err == nil:
			if !queued {
				b.join(w)
				if w.Queued != nil {
					w.Queued()
				}
			}
			queued, pause, next = true, firstPause, a.next()
		case f == refused, f == halfway, f == full && !queued:
			return answer{}, err
		default:
			if f == unknown {
				silent++
			}
			if !queued && (f == unsent || silent == silentTries) {
				return answer{}, unavailable(err)
			}
			next, pause = pause, min(2*pause, longestPause)
		}

		news, ok := w.listen(ctx, b.life, next)
		switch {
		case b.life.Err() != nil:
			return answer{}, errClosed
		case ctx.Err() != nil && err != nil && !queued:
			return answer{}, unavailable(err)
		case ctx.Err() != nil:
			return answer{}, ctx.Err()
		case ok:
			a, err = news.answer, news.err
		default:
			a, err = b.ask(exchange, w)
		}
	}
}

// next returns after how long a queued waiter asks again by itself: the first
// in the queue when the lock would expire, or soon if the holder will not tell
// anybody that it is gone. All others wait for a push and for the re-runs.
func (a answer) next() time.Duration {
	switch {
	case !a.first:
		return -1
	case a.foreign && (a.left < 0 || a.left > foreignPause):
		return foreignPause
	case a.left < 0:
		return -1
	}
	return a.left + time.Millisecond
}

// listen waits for an answer: one that a re-run brought, or a push that says by
// itself until when it holds. It returns false if w has to ask: after next, or
// when a push can't be told.
func (w *waiter) listen(ctx, life context.Context, next time.Duration) (r result, ok bool) {
	var alarm <-chan time.Time
	if next >= 0 {
		timer := time.NewTimer(next)
		defer timer.Stop()
		alarm = timer.C
	}
	for {
		select {
		case <-ctx.Done():
			return result{}, false
		case <-life.Done():
			return result{}, false
		case <-alarm:
			return result{}, false
		case <-w.news:
		}
		if r, ok, any := w.take(); any {
			return r, ok
		}
	}
}

// take returns what listen returns, if there is any news.
func (w *waiter) take() (r result, ok, news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, rerun := w.pushed, w.rerun
	w.pushed, w.rerun = nil, false
	switch {
	case p != nil:
		until, ok := p.until(w.last)
		if !ok || backend.Now().After(until.Add(-backend.Margin(w.TTL))) {
			return result{}, false, true
		}
		return result{answer: answer{status: "granted", token: p.token, sent: until.Add(-p.claim), left: p.claim}}, true, true
	case rerun:
		return result{w.last, w.err}, true, true
	}
	return result{}, false, false
}
