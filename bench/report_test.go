// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a run in which locker meets some of what was to be reached, and
// misses some; what else there is was not measured.
func sample() *Run {
	r := &Run{
		Store: "redis", Server: "Redis 7", Machine: "a machine", Pair: "two PING", Push: "PUBLISH", TTL: 4,
		Order: []string{ours, "peer"}, Versions: map[string]string{"peer": "example.com/peer v1"}, Lacks: map[string]string{"peer": "a queue"},
	}
	value := func(point, contestant, metric string, n, names int, v float64) {
		r.Records = append(r.Records, Record{Point: point, Contestant: contestant, Metric: metric, N: n, Names: names, Value: v, P99: 2 * v, Max: 2 * v})
	}
	value(uncontended, theLimit, lockUnlock, 0, 0, 100e-6)
	value(uncontended, ours, lockUnlock, 0, 0, 110e-6)
	value(uncontended, "peer", lockUnlock, 0, 0, 100e-6)
	for _, n := range waiterCounts {
		value(contended, ours, handOver, n, 0, 150e-6)
		value(contended, ours, barePush, n, 0, 100e-6)
		value(contended, ours, requests, n, 0, 3)
		value(contended, "peer", handOver, n, 0, 50e-3)
		value(contended, "peer", barePush, n, 0, 100e-6)
	}
	value(growth, ours, handOver, 2, 1, 1e-3)
	value(growth, ours, barePush, 2, 1, 1e-3)
	r.Records = append(r.Records, Record{Point: growth, Contestant: ours, Metric: stopped, Names: 10, Text: "no more"})
	return r
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	readme := filepath.Join(dir, "project.md")
	const begin, end = "<!-- benchmarks:begin -->\n", "<!-- benchmarks:end -->"
	if err := os.WriteFile(readme, []byte("before\n"+begin+"old\n"+end+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sample().write(filepath.Join(dir, "redis.jsonl")); err != nil {
		t.Fatal(err)
	}
	if err := Report(dir, readme); err != nil {
		t.Fatal(err)
	}
	text := read(t, filepath.Join(dir, "README.md"))
	for _, part := range []string{
		"| redis | limit | 100 µs | 200 µs | 1.00 × |",
		"| redis | locker | 110 µs | 220 µs | 1.10 × | 1.10 × |",
		"| uncontended, to the bare pair: at most 1.2 | 1.10 × |",
		"| uncontended, to the best peer: at most 1 | **1.10 ×** |",
		"| connections for 10,000 held locks: at most 4 | – |",
		"150 µs, 1.50 × (3.00 ×), 3.00 requests",
		"| redis | 1.00 ms, 1.00 × | stops: no more | – | – |",
		"| redis | peer | example.com/peer v1 | a queue |",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if strings.Contains(text, "NaN") || t.Failed() {
		t.Errorf("the page:\n%s", text)
	}
	got := read(t, readme)
	if !strings.HasPrefix(got, "before\n"+begin) || !strings.HasSuffix(got, end+"\nafter\n") ||
		strings.Contains(got, "old") || !strings.Contains(got, "| redis | 1.10 × | 1.00 × | 1.50 × | 500 × | 3.00, 3.00 | – |") {
		t.Errorf("the README: %s", got)
	}
	for _, name := range []string{"uncontended.svg", "handover.svg", "handover-redis.svg"} {
		picture := xml.NewDecoder(strings.NewReader(read(t, filepath.Join(dir, name))))
		for {
			if _, err := picture.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}

// What is written is read again.
func TestRunFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	if r, err := readRun(path); r != nil || err != nil {
		t.Errorf("no file: %v, %v", r, err)
	}
	want := sample()
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readRun(path)
	if err != nil || len(got.Records) != len(want.Records) || got.Records[3] != want.Records[3] || got.Pair != want.Pair {
		t.Errorf("%+v, %v", got, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
