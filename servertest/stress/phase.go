// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// A phase is what a client does with a lock.
type phase struct {
	client string
	holds  bool // else it waits
	long   bool // it will hold the lock through renewals
	since  time.Time
}

// pick chooses a client among those that are as wanted, or among all; one that
// nothing has happened to.
func (r *run) pick(rng *rand.Rand, wanted func(phase) bool) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all, fit []string
	for _, name := range slices.Sorted(maps.Keys(r.clients)) {
		if name == auditor || slices.ContainsFunc(r.active, func(a *active) bool { return a.client == name }) {
			continue
		}
		all = append(all, name)
		for _, p := range r.phase {
			if p.client == name && wanted(p) {
				fit = append(fit, name)
				break
			}
		}
	}
	if len(fit) > 0 {
		all = fit
	}
	return all[rng.IntN(len(all))]
}

// longHeld is of who holds a lock for so long that it is renewed, and justGranted
// of who has just begun to.
func longHeld(p phase) bool    { return p.long && p.holds }
func justGranted(p phase) bool { return longHeld(p) && time.Since(p.since) < 200*time.Millisecond }

func (r *run) holding(p phase) bool { return p.holds }
func (r *run) waiting(p phase) bool { return !p.holds }
func (r *run) either(phase) bool    { return true }
func (r *run) long(p phase) bool    { return p.long }

// anybody says whether somebody is as wanted.
func (r *run) anybody(wanted func(phase) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.phase {
		if wanted(p) {
			return true
		}
	}
	return false
}
