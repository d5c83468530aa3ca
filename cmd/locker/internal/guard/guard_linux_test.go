// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import "testing"

func TestRunsIn(t *testing.T) {
	for stat, want := range map[string]bool{
		"12 (sh) S 1 77 77 0 -1":         true,
		"12 (sh) R 1 77 77 0 -1":         true,
		"12 (sh) T 1 77 77 0 -1":         true,
		"12 (sh) Z 1 77 77 0 -1":         false,
		"12 (sh) X 1 77 77 0 -1":         false,
		"12 (sh) S 1 78 77 0 -1":         false,
		"12 (a) Z 1 78 (b) S 1 77 77 0":  true,
		"12 (a) S 1 77 (b) Z 1 77 77 0":  false,
		"12 (a) S 1 77 (b) S 1 771 77 0": false,
		"":                               false,
	} {
		if got := runsIn([]byte(stat), 77); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}
