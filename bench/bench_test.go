// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Holder()
	os.Exit(m.Run())
}

const documents = "../docs/benchmarks"

// TestSideBySide is what "make bench" runs: it measures the store that STORE of
// the environment names, or all, for TIME each, and writes the documents.
func TestSideBySide(t *testing.T) {
	if os.Getenv("LOCKER_BENCH") == "" {
		t.Skip("a part of make bench alone: it takes long")
	}
	within := 3 * time.Minute
	if text := os.Getenv("TIME"); text != "" {
		var err error
		if within, err = time.ParseDuration(text); err != nil {
			t.Fatalf("TIME=%s: %v", text, err)
		}
	}
	wanted := os.Getenv("STORE")
	if err := os.MkdirAll(documents, 0o755); err != nil {
		t.Fatal(err)
	}
	measured, found := commit(t), false // before its own documents are changed
	for _, store := range Stores {
		if wanted != "" && wanted != store.Name {
			continue
		}
		found = true
		t.Run(store.Name, func(t *testing.T) {
			result := Measure(t, store, within)
			result.Commit = measured
			if err := result.write(filepath.Join(documents, store.Name+".jsonl")); err != nil {
				t.Fatal(err)
			}
		})
	}
	if !found {
		t.Fatalf("STORE=%s: there is no such store", wanted)
	}
	if err := Report(documents, "../README.md"); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
