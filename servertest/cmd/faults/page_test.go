// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/servertest/stress"
)

func record(kind stress.Kind, name, store string, seed uint64, faults, found map[string]int) stress.Record {
	r := stress.Record{Kind: kind, Name: name, Found: found, First: map[string]string{}, Result: stress.Result{
		Store: store, Seed: seed, Faults: faults, Operations: 100, Leases: 50, Took: time.Minute, Plain: 3, Stalls: 2,
	}}
	for checker := range found {
		r.First[checker] = "what " + checker + " says"
	}
	return r
}

func TestPage(t *testing.T) {
	t.Parallel()
	mutant := record(stress.OfMutant, "no margin", "redis", 4, map[string]int{"kill-waiter": 1}, map[string]int{"loss": 9})
	mutant.Want = "loss"
	missed := record(stress.OfMutant, "no brain", "etcd", 5, nil, map[string]int{"loss": 9})
	missed.Want = "overlap"
	peer := record(stress.OfPeer, "zk.Lock", "zookeeper", 6, map[string]int{"partition": 2}, map[string]int{"overlap": 1})
	peer.Want = "overlap"
	records := []stress.Record{
		record(stress.OfStore, "", "redis", 1, map[string]int{"pause-holder": 2, "reset": 3}, nil),
		record(stress.OfStore, "", "redis", 2, map[string]int{"reset": 4}, nil),
		record(stress.OfTrial, "clock-forward", "redis", 7, map[string]int{"clock-forward": 5}, map[string]int{"overlap": 2, "model": 1}),
		record(stress.OfTrial, "clock-forward", "redis", 8, map[string]int{"clock-forward": 5}, map[string]int{"overlap": 2}),
		record(stress.OfTrial, "clock-back", "redis", 9, map[string]int{"clock-back": 1, "kill-holder": 1}, map[string]int{"tokens": 1, "register": 4}),
		record(stress.OfStore, "", "etcd", 1, map[string]int{"reset": 1}, map[string]int{"order": 1}),
		record(stress.OfStore, "", "file", 1, map[string]int{"pause-holder": 1}, nil),
		record(stress.OfStore, "", "etcd-3", 1, map[string]int{"kill-leader": 6}, nil),
		mutant, missed, peer,
	}
	text := newPage(records, "abc123").text()
	for _, want := range []string{
		"commit\nabc123.",
		"| guarantee | redis | etcd | file | etcd-3 |",
		"| G1 | *exception* [(1)](#1) | held | held | held |",
		"| G3 | **BROKEN** [(2)](#2) | held | held | held |",
		"| G4 | held | **BROKEN** [(4)](#4) | not promised | held |",
		"| G5 | *not always* [(3)](#3) | held | held | held |",
		"**redis, clock-back: G5** may not hold, though no run has shown it this time. The lock of a dead holder lasts for longer",
		"| a holder is paused (SIGSTOP) past its TTL, and goes on | held (2×) | – | held (1×) |",
		"| a client's connections are reset, again and again | held (7×) | held (1×) | – |",
		"| the server's wall clock jumps forward, by more than a TTL | *exception* G1 [(1)](#1) (10×) | – | – |",
		"| the leader is killed (SIGKILL), and comes back with its data | held (6×) |",
		"**redis, clock-forward: G1**, found by *overlap* with seed 7. Redis expires keys by its wall clock",
		"The guarded register lost no update in this run.\n\n> what overlap says\n\n    make faults STORE=redis FAULT=clock-forward SEED=7\n",
		"**redis, clock-back: G3**, found by *tokens* with seed 9. **Not documented: this is a violation.** The guarded register lost 4 updates in this run.",
		"**etcd, all faults: G4**, found by *order* with seed 1. **Not documented: this is a violation.**",
		"| redis | 5 | 500 | 250 | 21 | 5m0s | 15 | 10 |",
		"| redis | no margin | kill-waiter | loss | 4 | what loss says |",
		"| etcd | no brain | – | **not found** | 5 | – |",
		"| zookeeper | zk.Lock | partition | overlap | 6 | what overlap says |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	summary := newPage(records, "abc123").summary("docs/faults.md")
	for _, want := range []string{
		"| store | G1 | G2 | G3 | G4 | G5 |\n",
		"| redis | not under [clock-forward](docs/faults.md#1) | held | not under **BROKEN** [clock-back](docs/faults.md#2) | held | not under [clock-back](docs/faults.md#3) |\n",
		"| etcd | held | held | held | not under **BROKEN** [all faults](docs/faults.md#4) | held |\n",
		"| file | held | held | held | not promised | held |\n",
	} {
		if !strings.Contains(summary, want) {
			t.Errorf("the summary lacks %q: %s", want, summary)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	document, file := filepath.Join(dir, "faults.md"), filepath.Join(dir, stress.RecordsFile)
	if write(dir, "", document, "") == nil {
		t.Error("no error without a file")
	}
	for _, bad := range []string{"", "{\n"} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if write(dir, "", document, "") == nil {
			t.Errorf("no error for %q", bad)
		}
	}
	line, err := json.Marshal(record(stress.OfStore, "", "redis", 1, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(line, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	readme := filepath.Join(filepath.Dir(document), "README.md")
	if write(dir, "abc", document, readme) == nil {
		t.Error("no error without a README")
	}
	if err := os.WriteFile(readme, []byte("<!-- faults:begin -->\n<!-- faults:end -->"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(dir, "abc", document, readme); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(readme); err != nil || !strings.Contains(string(text), "| redis | held |") {
		t.Errorf("%v: %s", err, text)
	}
	if text, err := os.ReadFile(document); err != nil || !strings.Contains(string(text), "| redis | 1 | 100 |") {
		t.Errorf("%v: %s", err, text)
	}
}
