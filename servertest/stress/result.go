// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/history"
)

// A Result is what a run has found out.
type Result struct {
	Store      string            `json:"store"`
	Seed       uint64            `json:"seed"`
	Faults     map[string]int    `json:"faults"` // how often each was injected
	Took       time.Duration     `json:"took"`
	Operations int64             `json:"operations"`
	Leases     int               `json:"leases"`
	Verdicts   []history.Verdict `json:"verdicts,omitempty"`
	Plain      int               `json:"plain"` // updates that the register without tokens has lost
	Stalls     int               `json:"stalls"`
	Dir        string            `json:"-"` // where the history is
}

// Void says whether all that is wrong met a stall of the machine, and is about
// lateness.
func (r Result) Void() bool {
	return len(r.Verdicts) > 0 && !slices.ContainsFunc(r.Verdicts, func(v history.Verdict) bool { return !v.Void })
}

// Found counts what each checker found, but for what is void or undone.
func (r Result) Found() map[string]int {
	found := map[string]int{}
	for _, v := range r.Verdicts {
		if !v.Void && !v.Undone {
			found[v.Checker]++
		}
	}
	return found
}

func (r Result) String() string {
	var faults []string
	total := 0
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", name, r.Faults[name]))
		total += r.Faults[name]
	}
	return fmt.Sprintf("%s, seed %#x: %d operations, %d leases, %d faults in %v (%s); the register without tokens lost %d updates; the machine stood still %d times",
		r.Store, r.Seed, r.Operations, r.Leases, total, r.Took.Round(time.Second), strings.Join(faults, ", "), r.Plain, r.Stalls)
}

// lacking says what a run did not do that it should have done, or nothing.
func (r Result) lacking(cfg Config) string {
	for _, f := range cfg.Faults {
		if r.Faults[f.Name] == 0 && !cfg.Store.Slow {
			return "no " + f.Name + " was injected"
		}
	}
	if r.Faults[PauseHolder.Name] > 0 && cfg.Store.Promise.TTL > 0 && r.Plain == 0 {
		return "holders were paused, and the register that checks no tokens lost no update: the run has no teeth"
	}
	return ""
}

// Must runs until a run tells something, at most three times: one whose violations
// are void, or that did too little, does not. It fails the test with what is wrong,
// and returns the last run's result.
func Must(t testing.TB, cfg Config) Result {
	t.Helper()
	const tries = 3
	for try := 1; ; try++ {
		result := Run(t, cfg)
		t.Log(result)
		lacking := result.lacking(cfg)
		if try < tries && (result.Void() || len(result.Verdicts) == 0 && lacking != "") {
			t.Logf("stress: run again: %s %v", lacking, result.Verdicts)
			continue
		}
		if lacking != "" {
			t.Errorf("stress: %s, in %d runs", lacking, try)
		}
		for i, v := range result.Verdicts {
			if i == shown {
				t.Errorf("stress: and %d more", len(result.Verdicts)-shown)
				break
			}
			t.Error(v)
		}
		return result
	}
}

// shown is how many verdicts are told.
const shown = 20

// judge checks the history. What is wrong stays in the run's directory: the
// history, the clients' and the servers' logs, and pictures of the calls.
func (r *run) judge() Result {
	r.t.Helper()
	r.mu.Lock()
	h := history.New(r.events)
	result := Result{Store: r.Store.Name, Seed: r.Seed, Faults: r.counts, Took: time.Since(r.begun), Operations: r.ops, Dir: r.dir}
	r.mu.Unlock()
	for _, e := range h.Events {
		switch {
		case e.F == history.Lock && e.Type == history.OK:
			result.Leases++
		case e.F == history.Stall && e.Type == history.OK:
			result.Stalls++
		case e.F == history.Lock && e.Client == auditor && e.Type != history.Invoke:
			r.audited(e.Key, "after all clients had ended, the lock could not be taken: %s", e.Text)
		}
	}
	result.Plain = len(history.PlainLosses(h))
	result.Verdicts = append(r.verdicts, history.Check(h, r.Store.Promise)...)
	if err := r.history.Err(); err != nil {
		r.t.Errorf("stress: write the history: %v", err)
	}
	if len(result.Verdicts) == 0 && !r.t.Failed() && !r.Keep {
		if err := os.RemoveAll(r.dir); err != nil {
			r.t.Error(err)
		}
		return result
	}
	r.keep(h, result)
	return result
}

func (r *run) keep(h *history.History, result Result) {
	var logged []*servertest.Server
	for _, s := range append(slices.Clone(r.place.Servers), r.place.Nodes...) {
		if !slices.Contains(logged, s) {
			logged = append(logged, s)
			r.write(fmt.Sprintf("server%d.log", len(logged)), s.Logs(r.t))
		}
	}
	drawn := map[string]bool{}
	var text strings.Builder
	fmt.Fprintln(&text, result)
	for _, v := range result.Verdicts {
		fmt.Fprintln(&text, v)
		if v.Key == "" || drawn[v.Key] || len(drawn) == 5 {
			continue
		}
		drawn[v.Key] = true
		var html strings.Builder
		if err := h.Draw(&html, v.Key, r.Store.Promise); err != nil {
			r.t.Error(err)
		}
		r.write("calls-"+v.Key+".html", html.String())
	}
	r.write("verdicts.txt", text.String())
	r.t.Logf("stress: the history, logs and pictures of this run are in %s", r.dir)
}

func (r *run) write(name, text string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		r.t.Error(err)
	}
}
