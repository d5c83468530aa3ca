// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/golocker/locker/internal/marked"
)

//go:embed intro.md
var intro string

// Report writes the page and the pictures of all stores whose measurements are in
// dir, and the part of the project's README that is about them.
func Report(dir, readme string) error {
	var runs []*Run
	for _, store := range Stores {
		run, err := readRun(filepath.Join(dir, store.Name+".jsonl"))
		if err != nil {
			return fmt.Errorf("%s: %w", store.Name, err)
		}
		if run != nil {
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte(page(runs)), 0o644); err != nil {
		return err
	}
	if err := draw(runs, dir); err != nil {
		return err
	}
	return marked.Rewrite(readme, "benchmarks", summary(runs))
}

// page is the whole of what was measured, for people.
func page(runs []*Run) string {
	var out strings.Builder
	fmt.Fprint(&out, intro, "\n")
	for _, section := range []struct {
		title, text string
		table       func([]*Run) table
	}{
		{"What was measured", "", machines},
		{"What was to be reached", "Figures in bold fall short.", targets},
		{"Uncontended", "One client locks and unlocks one name. ÷ limit: to the store's bare pair of exchanges.", uncontendedTable},
		{"Hand-over", "From the call of an unlock to the return of the next holder's Lock, with waiters in 8 clients: median, in parentheses p99, both to a bare push that was measured between the hand-overs; then the requests of all clients for each hand-over, queueing again included.", handOverTable},
		{"Throughput", "Locks and unlocks of one client for each second.", throughputTable},
		{"Held locks", "What one client keeps and does in a TTL of 10 s. Batches are requests with less than 100 ms between them.", heldTable},
		{"After a holder's kill -9", "Until the next has the lock, to the TTL. Where the operating system closes a dead process's connection, or its files, the store may know at once. Promised: the most that the backend says.", deathTable},
		{"Fairness", "64 contenders in 8 clients hold a lock for a millisecond and want it again. Jain's index is 1 if all had it as often.", fairnessTable},
		{"As it grows", "Hand-overs of locker, with two waiters at each of some names, as a multiple of the bare push.", growthTable},
		{"What the others lack", "", lackTable},
	} {
		fmt.Fprintf(&out, "## %s\n\n", section.title)
		if section.text != "" {
			fmt.Fprintf(&out, "%s\n\n", section.text)
		}
		out.WriteString(section.table(runs).String())
		if section.title == "Uncontended" {
			out.WriteString("\n![locks and unlocks, to the bare pair of exchanges](uncontended.svg)\n")
		}
		if section.title == "Hand-over" {
			out.WriteString("\n![hand-over with 64 waiters, to a bare push](handover.svg)\n\n")
			for _, r := range runs {
				fmt.Fprintf(&out, "![hand-over on %s with 2 to 256 waiters](handover-%s.svg)\n", r.Store, r.Store)
			}
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}
