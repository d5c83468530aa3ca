// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"time"
)

var growing = []int{1, 10, 100, 1000}

// growth measures hand-overs of locker with more and more names for which others
// wait: three clients want each name.
func (r *run) growth() {
	r.t.Helper()
	c := r.store.contestants()[0]
	for _, names := range growing {
		r.progress("hand-over with waiters at %d names", names)
		if err := r.grow(c, names); err != nil {
			r.add(Record{Point: growth, Contestant: c.Name, Metric: stopped, Names: names, Text: err.Error()})
			return
		}
	}
}

func (r *run) grow(c Contestant, names int) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience+r.unit)
	defer cancel()
	clients := r.several(c, 3, r.addr)
	crowds, holders := make([]*crowd, names), make([]grant, names)
	defer func() {
		for i, crowd := range crowds {
			if crowd == nil {
				continue
			}
			crowd.cancel()
			holders[i].end()
		}
		for _, client := range clients {
			_ = client.Close()
		}
		for _, crowd := range crowds {
			if crowd != nil {
				crowd.running.Wait()
			}
		}
	}()
	for i := range crowds {
		crowds[i] = gather(ctx, clients, r.name(), len(clients))
	}
	for i := range crowds {
		var err error
		if holders[i], err = crowds[i].next(ctx); err != nil {
			return err
		}
	}
	rest(settled(names))
	overs, pushes, err := r.besidePushes(ctx, func() (took time.Duration, err error) {
		i := r.rng.IntN(names)
		took, holders[i], err = handOne(ctx, crowds[i], holders[i])
		return took, err
	})
	if err != nil {
		return err
	}
	over, bare := overs.record(growth, c.Name, handOver), pushes.record(growth, c.Name, barePush)
	over.N, bare.N, over.Names, bare.Names = 2, 2, names, names
	r.add(over, bare)
	return nil
}
