// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import "testing"

// tries is how many seeds there are to show what is known to be wrong.
const tries = 4

// Find runs until a checker finds what is known to be wrong. It fails the test if
// none of a few seeds shows it.
func Find(t testing.TB, kind Kind, name, checker string, cfg Config) {
	t.Helper()
	for try := range uint64(tries) {
		seeded := cfg
		seeded.Seed += try
		result := Run(t, seeded)
		t.Log(result)
		found := result.Found()
		for _, v := range result.Verdicts {
			if !v.Void && !v.Undone {
				t.Log(v) // the first is enough
				break
			}
		}
		if found[checker] == 0 && try < tries-1 {
			continue
		}
		Note(t, kind, name, checker, result)
		if found[checker] == 0 {
			break
		}
		t.Logf("%s: found by %s, seed %#x, all: %v", name, checker, seeded.Seed, found)
		return
	}
	t.Errorf("%s: not found by %s in %d seeds", name, checker, tries)
}
