// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"time"
)

// fairness measures how evenly 64 contenders in 8 clients are served, that hold a
// lock for a millisecond and want it again.
func (r *run) fairness() {
	r.t.Helper()
	const n = 64
	for _, c := range r.store.contestants() {
		r.progress("fairness, %s", c.Name)
		r.share(c, n)
	}
}

func (r *run) share(c Contestant, n int) {
	r.t.Helper()
	lasts := 4 * r.unit / 3
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*patience+lasts)
	defer cancel()
	crowd := gather(ctx, r.several(c, n, r.addr), r.name(), n)
	holder, err := crowd.next(ctx)
	defer func() { crowd.disband(holder) }()
	r.must(c, err)
	rest(settled(n))
	shares := make([]float64, n)
	asked := make([]time.Time, n)
	begun := time.Now()
	for i := range asked {
		asked[i] = begun
	}
	var waits Series
	for time.Since(begun) < lasts || len(waits) < 10*n { // by fewer rounds the last one, which some had, would count
		rest(time.Millisecond)
		released := time.Now()
		former := holder
		r.must(c, former.unlock())
		close(former.again)
		holder, err = crowd.next(ctx)
		r.must(c, err)
		shares[holder.who]++
		waits.add(holder.at.Sub(asked[holder.who]))
		asked[holder.who] = released // about when it will ask again
	}
	for i := range asked { // those who still wait
		if i != holder.who {
			waits.add(time.Since(asked[i]))
		}
	}
	r.add(
		Record{Point: fairness, Contestant: c.Name, Metric: jainIndex, N: n, Samples: len(waits), Value: jain(shares)},
		Record{Point: fairness, Contestant: c.Name, Metric: longest, N: n, Samples: len(waits), Value: waits.quantile(1) / waits.mean()},
	)
}
