// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Worker(OpenURL)
	os.Exit(m.Run())
}

// TestStress is what every test run has of the stress runs: each store for 45 s.
// In make faults they are longer, until every fault has come. SEED, TIME, STORE,
// FAULT and KEEP of the environment replay another run.
func TestStress(t *testing.T) {
	if faults() {
		t.Parallel()
	}
	for _, store := range Stores {
		t.Run(store.Name, func(t *testing.T) {
			t.Parallel()
			if faults() {
				store.Faults = slices.Concat(store.Faults, store.More)
			}
			store.Faults = asked(t, store, store.Faults...)
			lasts := 45 * time.Second
			if faults() {
				lasts = max(90*time.Second, 7*store.Promise.Reclaim)
				store.Slow = false
			}
			Note(t, OfStore, "", "", Must(t, config(t, store, store.Faults, lasts)))
		})
	}
}

// TestClusters has the nodes of each store's cluster fail.
func TestClusters(t *testing.T) {
	needFaults(t)
	t.Parallel()
	for _, store := range Clusters {
		if len(store.Faults) == 0 {
			continue // it has trials alone
		}
		t.Run(store.Name, func(t *testing.T) {
			t.Parallel()
			store.Faults = asked(t, store, store.Faults...)
			store.Slow = false
			Note(t, OfStore, "", "", Must(t, config(t, store, store.Faults, max(90*time.Second, 7*store.Promise.Reclaim))))
		})
	}
}

// TestTrials shows what is documented as an exception, and that it is one.
func TestTrials(t *testing.T) {
	needFaults(t)
	t.Parallel()
	for _, x := range Trials {
		t.Run(x.String(), func(t *testing.T) {
			t.Parallel()
			asked(t, x.Store, x.Fault)
			x.run(t, config(t, x.Store, nil, atLeast(x.Store)))
		})
	}
}

// config is that of a run of this package's tests.
func config(t *testing.T, store Store, faults []Fault, lasts time.Duration) Config {
	t.Helper()
	return Config{
		Store: store, Faults: faults, Dir: "../../out/faults", Keep: os.Getenv("KEEP") != "",
		Seed: variable(t, "SEED", 1, parseSeed),
		Time: variable(t, "TIME", lasts, time.ParseDuration),
	}
}

func parseSeed(s string) (uint64, error) { return strconv.ParseUint(s, 0, 64) }

// faults says whether this is make faults.
func faults() bool { return os.Getenv("LOCKER_FAULTS") != "" }

// needFaults keeps what takes long to make faults.
func needFaults(t *testing.T) {
	t.Helper()
	if !faults() {
		t.Skip("a part of make faults alone: it takes long")
	}
}

// asked leaves out what STORE and FAULT do not ask for. STORE is a store, or what
// the names of several begin with.
func asked(t *testing.T, store Store, faults ...Fault) []Fault {
	t.Helper()
	if want := os.Getenv("STORE"); !strings.HasPrefix(store.Name, want) {
		t.Skipf("STORE=%s", want)
	}
	want := os.Getenv("FAULT")
	if want == "" {
		return faults
	}
	faults = slices.DeleteFunc(slices.Clone(faults), func(f Fault) bool { return f.Name != want })
	if len(faults) == 0 {
		t.Skipf("FAULT=%s", want)
	}
	return faults
}

// variable reads a variable of the environment.
func variable[T any](t testing.TB, name string, otherwise T, parse func(string) (T, error)) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	value, err := parse(text)
	if err != nil {
		t.Fatalf("%s=%s: %v", name, text, err)
	}
	return value
}
