// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A Kind says what a run was for.
type Kind string

// The kinds of runs.
const (
	OfStore  Kind = "store"  // all faults that a store can meet, in turn
	OfTrial  Kind = "trial"  // one fault
	OfMutant Kind = "mutant" // a line of safety is missing
	OfPeer   Kind = "peer"   // another library
)

// A Record is what the documents say about a run.
type Record struct {
	Kind   Kind              `json:"kind"`
	Name   string            `json:"name,omitempty"` // of the mutant, or the peer
	Want   string            `json:"want,omitempty"` // the checker that has to find something
	Found  map[string]int    `json:"found,omitempty"`
	First  map[string]string `json:"first,omitempty"` // what each checker found first
	Result Result            `json:"result"`
}

// recordsVar names the directory to whose file Note appends.
const recordsVar = "LOCKER_FAULTS_DIR"

// RecordsFile is the name of that file: a Record in each line.
const RecordsFile = "runs.jsonl"

var noting sync.Mutex

// Note keeps a record for the documents, if the environment says where.
func Note(t testing.TB, kind Kind, name, want string, result Result) {
	t.Helper()
	dir := os.Getenv(recordsVar)
	if dir == "" {
		return
	}
	record := Record{Kind: kind, Name: name, Want: want, Found: result.Found(), First: map[string]string{}, Result: result}
	for _, v := range result.Verdicts {
		if _, ok := record.First[v.Checker]; !ok && !v.Void && !v.Undone {
			record.First[v.Checker] = v.Text
		}
	}
	record.Result.Verdicts = nil
	line, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	noting.Lock()
	defer noting.Unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, RecordsFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(append(line, '\n')); err != nil {
		t.Error(err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}
