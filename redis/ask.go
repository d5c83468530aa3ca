// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"

	"github.com/golocker/locker/backend"
)

// ask runs the lock script of one waiter.
func (b *Backend) ask(ctx context.Context, w *waiter) (answer, error) {
	answers := b.askAll(ctx, []*waiter{w})
	return answers[0].answer, answers[0].err
}

// A result is an answer or the reason why there is none.
type result struct {
	answer
	err error
}

// askAll runs the lock scripts of waiters in one exchange per node; result i is
// that of waiter i.
func (b *Backend) askAll(ctx context.Context, waiters []*waiter) []result {
	calls := make([]*call, len(waiters))
	results := make([]result, len(waiters))
	b.mu.Lock()
	for i, w := range waiters {
		results[i].epoch = w.epoch()
	}
	b.mu.Unlock()
	for i, w := range waiters {
		calls[i] = b.lockCall(ctx, w.request)
		w.begin()
	}
	end := func() {
		for i, w := range waiters {
			w.end(fateOf(calls[i].Err()))
		}
	}

	sent := backend.Now()
	if err := b.run(ctx, func(ctx context.Context) { process(ctx, b.client, calls...) }, end); err != nil {
		for i := range results {
			results[i].err = err
		}
		return results
	}
	end()
	for i, w := range waiters {
		epoch := results[i].epoch
		results[i].answer, results[i].err = w.read(calls[i].Result())
		results[i].epoch, results[i].sent = epoch, sent
		if results[i].err == nil {
			w.note(results[i].answer)
		}
	}
	return results
}

// note keeps the answer to the script that was sent last: pushes are dated by it.
func (w *waiter) note(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !a.sent.Before(w.last.sent) {
		w.last = a
	}
}

// deliver hands the result of a re-run to the waiter. It drops what says
// nothing: the next tick asks again.
func (w *waiter) deliver(r result) {
	f := fateOf(r.err)
	if r.err != nil && f != refused && f != halfway {
		return
	}
	w.mu.Lock()
	w.rerun, w.err = true, r.err
	w.mu.Unlock()
	w.wake()
}

// push hands a push to the waiter.
func (w *waiter) push(p push) {
	w.mu.Lock()
	w.pushed = &p
	w.mu.Unlock()
	w.wake()
}

func (w *waiter) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}
