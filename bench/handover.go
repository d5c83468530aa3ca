// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"time"
)

var (
	waiterCounts = []int{2, 8, 64, 256}
	// idle is what passes before each hand-over, and before each bare push.
	idle = 3 * time.Millisecond
)

// contended measures from the call of an unlock to the return of the next
// holder's Lock, with some waiters in 8 clients, and a bare push after each.
func (r *run) contended() {
	r.t.Helper()
	for _, n := range waiterCounts {
		for _, c := range r.store.contestants() {
			r.progress("hand-over with %d waiters, %s", n, c.Name)
			r.handOvers(c, n)
			r.handOverRequests(c, n)
		}
	}
}

// settled is how long n waiters need to stand in the queue.
func settled(n int) time.Duration { return time.Second + time.Duration(n)*5*time.Millisecond }

func (r *run) handOvers(c Contestant, n int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience+r.unit)
	defer cancel()
	crowd := gather(ctx, r.several(c, n, r.addr), r.name(), n+1)
	holder, err := crowd.next(ctx)
	defer func() { crowd.disband(holder) }()
	r.must(c, err)
	rest(settled(n))
	overs, pushes, err := r.besidePushes(ctx, func() (took time.Duration, err error) {
		took, holder, err = handOne(ctx, crowd, holder)
		return took, err
	})
	r.must(c, err)
	over, bare := overs.record(contended, c.Name, handOver), pushes.record(contended, c.Name, barePush)
	over.N, bare.N = n, n
	r.add(over, bare)
}

// besidePushes measures hand-overs, and a bare push after each.
func (r *run) besidePushes(ctx context.Context, hand func() (time.Duration, error)) (overs, pushes Series, err error) {
	push, done, err := r.store.Limit.OpenPush(ctx, r.addr)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	for end := time.Now().Add(r.unit); len(overs) < 5 || time.Now().Before(end); {
		rest(idle + r.upTo(idle))
		took, err := hand()
		if err != nil {
			return nil, nil, err
		}
		overs.add(took)
		rest(r.upTo(idle))
		if took, err = push(ctx); err != nil {
			return nil, nil, err
		}
		pushes.add(took)
	}
	return overs, pushes, nil
}

// handOne unlocks, and returns who has the lock next and after how long. The
// former holder wants it again after that: a client that polls would often give it
// to itself.
func handOne(ctx context.Context, crowd *crowd, holder grant) (time.Duration, grant, error) {
	defer close(holder.again)
	began := time.Now()
	unlocked := make(chan error, 1)
	go func() { unlocked <- holder.unlock() }()
	next, err := crowd.next(ctx)
	if err != nil {
		return 0, grant{}, errors.Join(err, <-unlocked)
	}
	return next.at.Sub(began), next, <-unlocked
}

// handOverRequests counts what all clients send for a hand-over, that of the one
// who queues again among it.
func (r *run) handOverRequests(c Contestant, n int) {
	r.t.Helper()
	p := r.wire()
	if p == nil {
		return
	}
	defer p.Close()
	ctx, cancel := r.bounded()
	defer cancel()
	crowd := gather(ctx, r.several(c, n, p.Addr()), r.name(), n+1)
	holder, err := crowd.next(ctx)
	defer func() { crowd.disband(holder) }()
	r.must(c, err)
	rest(settled(n))
	const rounds = 10
	before := p.Requests()
	for range rounds {
		rest(2 * idle)
		_, holder, err = handOne(ctx, crowd, holder)
		r.must(c, err)
	}
	rest(2 * idle) // until the last one stands in the queue again
	r.add(Record{Point: contended, Contestant: c.Name, Metric: requests, N: n, Value: float64(p.Requests()-before) / rounds})
}
