// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/golocker/locker/conformance"
)

func report(backend string, checks ...conformance.Result) *conformance.Report {
	return &conformance.Report{Backend: backend, Checks: checks}
}

func result(guarantee string, s conformance.Status) conformance.Result {
	return conformance.Result{Guarantee: guarantee, Name: "A", Status: s}
}

func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	for _, r := range []*conformance.Report{
		report("b", result("G1_Exclusion", conformance.Pass), result("G1_Exclusion", conformance.Fail), result("G1_Exclusion", conformance.Skip), result("G2_SelfFencing", conformance.Error), result("G4_Fairness", conformance.Fail)),
		report("a", result("G1_Exclusion", conformance.Pass), result("G1_Exclusion", conformance.Pass), result("G2_SelfFencing", conformance.Skip), result("G4_Fairness", conformance.Pass)),
	} {
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	doc := filepath.Join(dir, "doc.md")
	for range 2 { // the second time it replaces the table
		if _, err := os.Stat(doc); err != nil {
			write(t, doc, "before\n"+begin+"old\n"+end+"\nafter\n")
		}
		if err := rewrite(doc, dir); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	want := `before
<!-- guarantees:begin -->

| guarantee | a | b |
|---|---|---|
| G1 Exclusion | ✓ 2 | ✗ 1 of 3 |
| G2 Self fencing | 0 of 1 | ✗ 1 of 1 |
| G4 Fairness | *not promised* | ✗ 1 of 1 |

`
	if got := string(text); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, end+"\nafter\n") || strings.Contains(got, "old") {
		t.Errorf("the document is\n%s\nwant it to begin with\n%s", got, want)
	}
}

func TestRewriteRefuses(t *testing.T) {
	dir := t.TempDir()
	doc := filepath.Join(dir, "doc.md")
	write(t, doc, begin+end)
	if err := rewrite(doc, dir); err == nil {
		t.Error("no error without reports")
	}
	if err := report("a", result("G1_Exclusion", conformance.Pass)).Write(dir); err != nil {
		t.Fatal(err)
	}
	if rewrite(doc+".none", dir) == nil {
		t.Error("no error without a document")
	}
	write(t, filepath.Join(dir, "broken.json"), "{")
	write(t, doc, begin+end)
	if err := rewrite(doc, dir); err == nil {
		t.Error("no error for a report that is no JSON")
	}
}

const (
	begin = "<!-- guarantees:begin -->\n"
	end   = "<!-- guarantees:end -->"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
