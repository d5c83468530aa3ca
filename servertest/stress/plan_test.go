// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const plans = 5000

// A seed decides every plan, and each kind of plan comes.
func TestPlans(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(Plan) bool{
		"no wait":         func(p Plan) bool { return p.NoWait },
		"longest wait":    func(p Plan) bool { return p.MaxWait > 0 },
		"cancelled":       func(p Plan) bool { return p.Cancel > 0 },
		"patient":         func(p Plan) bool { return !p.NoWait && p.MaxWait == 0 && p.Cancel == 0 },
		"not renewed":     func(p Plan) bool { return p.NoRenew && p.Hold < time.Second },
		"held to its end": func(p Plan) bool { return p.NoRenew && p.Hold > time.Second },
		"held past a TTL": func(p Plan) bool { return p.Hold > time.Second && !p.NoRenew },
		"renewed by hand": func(p Plan) bool { return p.Renew },
		"unlocked twice":  func(p Plan) bool { return p.Unlocks == 2 },
	}
	perKey := map[string]int{}
	for op := range int64(plans) {
		p := plan(7, op, time.Second, false)
		if p != plan(7, op, time.Second, false) {
			t.Fatal("the same plan differs")
		}
		perKey[p.Key]++
		for name, is := range kinds {
			if is(p) {
				delete(kinds, name)
			}
		}
	}
	for name := range kinds {
		t.Errorf("of %d plans none is: %s", plans, name)
	}
	for key, n := range perKey {
		if n > plansEach {
			t.Errorf("%d plans for lock %s, more than %d", n, key, plansEach)
		}
	}
	if p := plan(7, 2, time.Second, true); p.Key != plan(7, 2, time.Second, false).Key {
		t.Error("a long run has other locks")
	}
	other := plan(8, 1, time.Second, false)
	other.Key = plan(7, 1, time.Second, false).Key
	if other == plan(7, 1, time.Second, false) {
		t.Error("two seeds have the same plan")
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	const ops = 1000
	all := audit(7, ops, time.Second)
	seen := map[string]bool{}
	for _, p := range all {
		if p.Op <= ops || seen[p.Key] || p.MaxWait != time.Second || p.Unlocks != 1 {
			t.Errorf("%+v", p)
		}
		seen[p.Key] = true
	}
	for op := range int64(ops) {
		if key := plan(7, op, time.Second, false).Key; !seen[key] {
			t.Fatalf("lock %s of operation %d is not looked at", key, op)
		}
	}
}

func TestDeck(t *testing.T) {
	t.Parallel()
	all := []Fault{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
	deal := func(seed uint64) (names []string) {
		d := newDeck(all, rand.New(rand.NewPCG(seed, 0)))
		for range 3 * len(all) {
			top, _ := d.top()
			if f := d.draw(); f.Name != top.Name {
				t.Errorf("drew %s, the top was %s", f.Name, top.Name)
			}
			names = append(names, top.Name)
		}
		return names
	}
	names := deal(1)
	for round := range 3 {
		once := slices.Sorted(slices.Values(names[round*4 : round*4+4]))
		if !slices.Equal(once, []string{"a", "b", "c", "d"}) {
			t.Errorf("round %d deals %v", round, once)
		}
	}
	if !slices.Equal(names, deal(1)) || slices.Equal(names, deal(2)) {
		t.Error("the seed does not decide the order")
	}
}

func TestDeckOfOneTime(t *testing.T) {
	t.Parallel()
	d := newDeck([]Fault{{Name: "a"}, {Name: "b", once: true}}, rand.New(rand.NewPCG(1, 0)))
	came := map[string]int{}
	for range 10 {
		d.top()
		came[d.draw().Name]++
	}
	if came["b"] != 1 || came["a"] != 9 {
		t.Errorf("%v came, want b once", came)
	}
	d = newDeck([]Fault{{Name: "b", once: true}}, rand.New(rand.NewPCG(1, 0)))
	d.top()
	d.draw()
	if f, ok := d.top(); ok {
		t.Errorf("%s came again", f.Name)
	}
}
