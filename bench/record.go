// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
)

// What a Record measures.
const (
	lockUnlock = "lock and unlock" // seconds
	handOver   = "hand-over"       // seconds, of unlock called → next holder running
	barePush   = "push"            // seconds, between the hand-overs of the same contestant
	requests   = "requests"        // at the wire, for each lock and unlock, hand-over, or TTL
	batches    = "batches"         // of requests in a TTL
	allocs     = "allocations"     // for each lock and unlock
	bytes      = "bytes"           // allocated for each lock and unlock, or kept for each held lock
	rate       = "rate"            // lock and unlock, for each second
	conns      = "connections"
	goroutines = "goroutines"
	cpu        = "processor" // share of one
	freed      = "freed"     // seconds from kill -9 to the next grant
	reclaim    = "reclaim"   // seconds in which that must be
	jainIndex  = "Jain's index"
	longest    = "longest ÷ mean wait"
	stopped    = "stopped" // Names is where it stopped, and Text why
)

// The points that are measured.
const (
	uncontended = "uncontended"
	contended   = "hand-over"
	throughput  = "throughput"
	held        = "held"
	death       = "death"
	fairness    = "fairness"
	growth      = "growth"
)

// A Record is one line of what was measured.
type Record struct {
	Point      string  `json:"point"`
	Contestant string  `json:"contestant"`
	Metric     string  `json:"metric"`
	N          int     `json:"n,omitempty"`     // waiters, goroutines or locks
	Names      int     `json:"names,omitempty"` // locks that are used
	Samples    int     `json:"samples,omitempty"`
	Value      float64 `json:"value"` // the median of the samples
	P99        float64 `json:"p99,omitempty"`
	Min        float64 `json:"min,omitempty"`
	Max        float64 `json:"max,omitempty"`
	Text       string  `json:"text,omitempty"`
}

// A Run is what a file of records is about.
type Run struct {
	Store    string            `json:"store"`
	Server   string            `json:"server,omitempty"` // as it says
	Machine  string            `json:"machine"`
	Go       string            `json:"go"`
	Commit   string            `json:"commit"`
	Date     string            `json:"date"`
	Took     float64           `json:"took,omitempty"` // seconds
	Pair     string            `json:"pair"`
	Push     string            `json:"push"`
	TTL      float64           `json:"ttl"` // seconds, where a holder dies
	Versions map[string]string `json:"versions"`
	Lacks    map[string]string `json:"lacks"`
	Order    []string          `json:"order"` // of the contestants
	Records  []Record          `json:"-"`
}

// record summarises a series.
func (s Series) record(point, contestant, metric string) Record {
	return Record{
		Point: point, Contestant: contestant, Metric: metric, Samples: len(s),
		Value: s.median(), P99: s.quantile(0.99), Min: s.quantile(0), Max: s.quantile(1),
	}
}

// write writes a run as lines of JSON, the first of which is about all.
func (r *Run) write(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	lines := json.NewEncoder(out)
	err = lines.Encode(r)
	for _, record := range r.Records {
		err = errors.Join(err, lines.Encode(record))
	}
	return errors.Join(err, out.Flush(), file.Close())
}

// readRun returns nil if there is no such file.
func readRun(path string) (*Run, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	lines := json.NewDecoder(file)
	r := &Run{}
	if err := lines.Decode(r); err != nil {
		return nil, err
	}
	for {
		var record Record
		err := lines.Decode(&record)
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		r.Records = append(r.Records, record)
	}
}

// find returns the record of something.
func (r *Run) find(point, contestant, metric string, n, names int) (Record, bool) {
	for _, record := range r.Records {
		if record.Point == point && record.Contestant == contestant && record.Metric == metric && record.N == n && record.Names == names {
			return record, true
		}
	}
	return Record{}, false
}
