// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"slices"
	"testing"

	"github.com/golocker/locker/servertest/history"
)

// Each exception names checkers that exist and says why; none is about the guarded
// register, and each of a store and a fault is there once.
func TestTrialsAreDocumented(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, x := range Trials {
		if seen[x.String()] {
			t.Errorf("%v is there twice", x)
		}
		seen[x.String()] = true
		for _, checker := range slices.Concat(x.Breaks, x.May) {
			exists := slices.ContainsFunc(history.Checkers, func(c history.Checker) bool { return c.Name == checker })
			if !exists && checker != "audit" || checker == "register" {
				t.Errorf("%v: breaks %q", x, checker)
			}
		}
		if (len(x.Breaks)+len(x.May) > 0) != (x.Why != "") {
			t.Errorf("%v: breaks %v, may break %v, because %q", x, x.Breaks, x.May, x.Why)
		}
		if !slices.ContainsFunc(Faults, func(f Fault) bool { return f.Name == x.Fault.Name }) {
			t.Errorf("%v: the fault is not among Faults", x)
		}
	}
	for _, s := range slices.Concat(Stores, Clusters) {
		for _, f := range s.Faults {
			if !slices.ContainsFunc(Faults, func(o Fault) bool { return f.Name == o.Name }) {
				t.Errorf("%s: %s is not among Faults", s.Name, f.Name)
			}
		}
	}
}

func TestTrialSorts(t *testing.T) {
	t.Parallel()
	x := Trial{Breaks: []string{"overlap"}, May: []string{"model"}}
	known, unknown := x.sort([]history.Verdict{
		{Checker: "overlap"}, {Checker: "model"}, {Checker: "model", Undone: true},
		{Checker: "register"}, {Checker: "loss", Void: true}, {Checker: "loss"},
	})
	names := func(all []history.Verdict) (names []string) {
		for _, v := range all {
			names = append(names, v.Checker)
		}
		return names
	}
	if got := names(known); !slices.Equal(got, []string{"overlap", "model"}) {
		t.Errorf("documented: %v", got)
	}
	if got := names(unknown); !slices.Equal(got, []string{"model", "register", "loss"}) {
		t.Errorf("not documented: %v", got)
	}
}
