// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"math/rand/v2"
	"slices"
)

// A deck deals faults: each once, in a random order, before any comes again. Those
// of one time do not come again.
type deck struct {
	all, left []Fault
	rng       *rand.Rand
}

func newDeck(all []Fault, rng *rand.Rand) *deck { return &deck{all: slices.Clone(all), rng: rng} }

// top returns the fault that draw will return; none if all came their one time.
func (d *deck) top() (f Fault, ok bool) {
	if len(d.left) == 0 {
		for _, i := range d.rng.Perm(len(d.all)) {
			d.left = append(d.left, d.all[i])
		}
	}
	if len(d.left) == 0 {
		return Fault{}, false
	}
	return d.left[0], true
}

func (d *deck) draw() Fault {
	f := d.left[0]
	d.left = d.left[1:]
	d.all = slices.DeleteFunc(d.all, func(o Fault) bool { return f.once && o.Name == f.Name })
	return f
}
