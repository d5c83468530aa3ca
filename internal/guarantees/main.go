// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Command guarantees writes the table of guarantees in a document, from what the
// conformance suite found out about each backend:
//
//	LOCKER_CONFORMANCE_DIR=out go test ./...
//	go run ./internal/guarantees -dir out README.md
//
// The table replaces what is between the lines <!-- guarantees:begin --> and
// <!-- guarantees:end -->.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/internal/marked"
)

func main() {
	dir := flag.String("dir", "out", "directory with the JSON reports of the conformance suite")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: guarantees [-dir DIR] DOCUMENT")
		os.Exit(2)
	}
	if err := rewrite(flag.Arg(0), *dir); err != nil {
		fmt.Fprintln(os.Stderr, "guarantees:", err)
		os.Exit(1)
	}
}

func rewrite(document, dir string) error {
	reports, err := read(dir)
	if err != nil {
		return err
	}
	return marked.Rewrite(document, "guarantees", table(reports))
}

// read reads all reports of a directory, sorted by backend.
func read(dir string) ([]conformance.Report, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var reports []conformance.Report
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var r conformance.Report
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(r.Checks) == 0 {
			return nil, fmt.Errorf("%s holds no checks", file)
		}
		reports = append(reports, r)
	}
	if len(reports) == 0 {
		return nil, fmt.Errorf("no reports in %s: run the tests with LOCKER_CONFORMANCE_DIR=%s", dir, dir)
	}
	slices.SortFunc(reports, func(a, b conformance.Report) int { return strings.Compare(a.Backend, b.Backend) })
	return reports, nil
}

// table has a row for each guarantee and a column for each backend.
func table(reports []conformance.Report) string {
	var b strings.Builder
	b.WriteString("\n| guarantee |")
	for _, r := range reports {
		fmt.Fprintf(&b, " %s |", r.Backend)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(reports)) + "\n")
	for _, id := range rows(reports) {
		fmt.Fprintf(&b, "| %s |", title(id))
		for _, r := range reports {
			_, counts := r.Counts()
			text := cell(counts[id])
			if lacks(r, id) {
				text = "*not promised*"
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n✓ 7 of 9: seven of the nine checks ran, and passed. The others need what the test\nof that backend cannot produce, such as a connection that breaks where there is none.\n\n")
	return b.String()
}

// rows returns the guarantees of all reports, in the order of the suite.
func rows(reports []conformance.Report) (ids []string) {
	for _, r := range reports {
		of, _ := r.Counts()
		for _, id := range of {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// lacks says whether a backend does not promise a guarantee; the suite has then
// checked that it says so.
func lacks(r conformance.Report, id string) bool {
	passed := true
	for _, ck := range r.Checks {
		passed = passed && (ck.Guarantee != id || ck.Status == conformance.Pass || ck.Status == conformance.Skip)
	}
	return passed && (strings.HasPrefix(id, "G3_") && !r.Fencing || strings.HasPrefix(id, "G4_") && !r.Fair)
}

// cell says how many checks passed or, if any did not, how many failed.
func cell(n *conformance.Count) string {
	if n == nil {
		return "–"
	}
	ran := n.Total() - n.Skip
	switch {
	case n.Fail+n.Error > 0:
		return fmt.Sprintf("✗ %d of %d", n.Fail+n.Error, n.Total())
	case ran == 0:
		return fmt.Sprintf("0 of %d", n.Total())
	case n.Skip > 0:
		return fmt.Sprintf("✓ %d of %d", n.Pass, n.Total())
	}
	return fmt.Sprintf("✓ %d", n.Pass)
}

// title makes "G1 Exclusion" of "G1_Exclusion", and "G2 Self fencing" of
// "G2_SelfFencing".
func title(id string) string {
	number, words, ok := strings.Cut(id, "_")
	if !ok {
		return id
	}
	var b strings.Builder
	for i, c := range words {
		if i > 0 && 'A' <= c && c <= 'Z' {
			b.WriteString(" " + strings.ToLower(string(c)))
		} else {
			b.WriteRune(c)
		}
	}
	return number + " " + b.String()
}
