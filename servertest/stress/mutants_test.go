// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/golocker/locker/servertest/history"
)

const root = "../.."

// TestMutantsFit holds the table to the sources: each text that a mutant takes
// out stands there, once.
func TestMutantsFit(t *testing.T) {
	t.Parallel()
	each := map[string]int{}
	for _, m := range Mutants {
		source, err := os.ReadFile(filepath.Join(root, m.File))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(source, []byte(m.Old)); n != 1 {
			t.Errorf("%v: %q stands %d times in %s, want once", m, m.Old, n, m.File)
		}
		if !slices.ContainsFunc(history.Checkers, func(c history.Checker) bool { return c.Name == m.Checker }) {
			t.Errorf("%v: there is no checker %q", m, m.Checker)
		}
		each[m.Store.Name]++
	}
	for _, s := range Stores {
		if each[s.Name] < 4 {
			t.Errorf("%s has %d mutants, want at least 4", s.Name, each[s.Name])
		}
	}
}

// TestMutantsCompile: a mutant that is no program shows nothing.
func TestMutantsCompile(t *testing.T) {
	t.Parallel()
	for _, m := range Mutants {
		if filepath.Ext(m.File) != ".go" {
			continue
		}
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			if out, err := changed(t, root, m, "-o", os.DevNull, "github.com/golocker/locker/"+filepath.Dir(m.File)).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestMutants shows that a run finds out when a line of safety is missing.
func TestMutants(t *testing.T) {
	needFaults(t)
	t.Parallel()
	for _, m := range Mutants {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			asked(t, m.Store, m.Faults...)
			cfg := config(t, m.Store, m.Faults, atLeast(m.Store))
			cfg.Worker, cfg.Long = m.build(t, root), m.long()
			Find(t, OfMutant, m.Name, m.Checker, cfg)
		})
	}
}
