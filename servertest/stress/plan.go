// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	locks     = 3  // that are fought for at one time
	plansEach = 80 // for one lock, before a fresh one takes its place: as many as history.Model decides
)

// A Plan is one Lock of a client, and what it does with the lease.
type Plan struct {
	Op       int64         `json:"op"`
	Key      string        `json:"key"`
	Over     bool          `json:"over,omitempty"` // there is nothing more to do
	NoWait   bool          `json:"no_wait,omitempty"`
	MaxWait  time.Duration `json:"max_wait,omitempty"`
	Cancel   time.Duration `json:"cancel,omitempty"` // when Lock's context is cancelled; 0: it is not
	NoRenew  bool          `json:"no_renew,omitempty"`
	Think    time.Duration `json:"think"`           // between reading and writing the registers
	Hold     time.Duration `json:"hold"`            // after that
	Blind    bool          `json:"blind,omitempty"` // it does not look at its lease meanwhile
	Renew    bool          `json:"renew,omitempty"`
	Unlocks  int           `json:"unlocks"`
	Rest     time.Duration `json:"rest"` // before the next plan
	Register bool          `json:"register,omitempty"`
}

// plan returns the op-th plan of a run. It depends on nothing but its arguments.
// In a long one more leases than usual are held, through more renewals.
func plan(seed uint64, op int64, ttl time.Duration, long bool) Plan {
	r := rand.New(rand.NewPCG(seed, uint64(op)))
	upTo := func(d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d) + 1)) }
	p := Plan{
		Op:       op,
		Key:      fmt.Sprintf("%x-%d", seed, op/(locks*plansEach)*locks+op%locks),
		Think:    upTo(20 * time.Millisecond),
		Hold:     upTo(20 * time.Millisecond),
		Renew:    r.IntN(100) < 15,
		Unlocks:  1,
		Rest:     upTo(80 * time.Millisecond),
		Register: true,
	}
	switch dice := r.IntN(100); {
	case dice < 12:
		p.NoWait = true
	case dice < 32:
		p.Cancel = time.Millisecond + upTo(ttl/10)
	case dice < 38:
		p.MaxWait = time.Millisecond + upTo(ttl)
	}
	switch dice := r.IntN(100); {
	case dice < 1: // past its end
		p.NoRenew, p.Blind, p.Hold, p.Renew = true, true, ttl+ttl/2, false
	case dice < 3:
		p.NoRenew = true
	case dice < 5: // through renewals
		p.Hold, p.Blind = ttl/2+upTo(ttl), r.IntN(2) == 0
	case dice < 15 && long:
		p.Hold, p.Blind = 2*ttl+upTo(ttl), r.IntN(2) == 0
	case dice < 25:
		p.Hold = upTo(100 * time.Millisecond)
	}
	if r.IntN(100) < 5 {
		p.Unlocks = 2
	}
	return p
}

// audit returns the plans that show that nothing of a run is left in the way:
// each lock that it used is locked once more.
func audit(seed uint64, ops int64, within time.Duration) []Plan {
	var plans []Plan
	seen := map[string]bool{}
	for op := range ops {
		key := plan(seed, op, time.Second, false).Key
		if !seen[key] {
			seen[key] = true
			plans = append(plans, Plan{Op: ops + 1 + int64(len(plans)), Key: key, MaxWait: within, Unlocks: 1})
		}
	}
	return plans
}
