// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golocker/locker/servertest/history"
	"github.com/golocker/locker/servertest/stress"
)

// A page is the document while it is written.
type page struct {
	out        strings.Builder
	records    []stress.Record
	commit     string
	stores     []stress.Store
	exceptions []exception
}

// An exception is a guarantee that did not hold, and the first run that shows it;
// or one of which it is documented that it may not, though no run shows it.
type exception struct {
	store, fault, checker, guarantee, text, why string
	seed                                        uint64
	lost                                        int // updates, by the register that checks tokens
	known, seen                                 bool
}

func newPage(records []stress.Record, commit string) *page {
	p := &page{records: records, commit: commit, stores: slices.Concat(stress.Stores, stress.Clusters)}
	for _, r := range records {
		if !ofStore(r) {
			continue
		}
		for _, c := range history.Checkers {
			if r.Found[c.Name] > 0 {
				p.except(r, c)
			}
		}
		if r.Found["audit"] > 0 {
			p.except(r, history.Checker{Name: "audit", Guarantee: "G5"})
		}
	}
	for _, x := range stress.Trials {
		if p.tried(x) {
			p.mayExcept(x)
		}
	}
	order := func(e exception) int {
		store := slices.IndexFunc(p.stores, func(s stress.Store) bool { return s.Name == e.store })
		fault := slices.IndexFunc(stress.Faults, func(f stress.Fault) bool { return f.Name == e.fault })
		return store*(len(stress.Faults)+1) + fault
	}
	slices.SortStableFunc(p.exceptions, func(a, b exception) int { return cmp.Compare(order(a), order(b)) })
	return p
}

// ofStore says whether a record is of a store as it is, for all or for one fault.
func ofStore(r stress.Record) bool { return r.Kind == stress.OfStore || r.Kind == stress.OfTrial }

// except notes that a checker found something, unless that is noted.
func (p *page) except(r stress.Record, c history.Checker) {
	e := exception{
		store: r.Result.Store, checker: c.Name, guarantee: c.Guarantee, seed: r.Result.Seed,
		text: r.First[c.Name], lost: r.Found["register"], seen: true,
	}
	if r.Kind == stress.OfTrial {
		e.fault = r.Name
		for _, x := range stress.Trials {
			if x.Store.Name == e.store && x.Fault.Name == e.fault && x.Documents(c.Name) {
				e.why, e.known = x.Why, true
			}
		}
	}
	p.add(e)
}

// tried says whether there is a run of a trial.
func (p *page) tried(x stress.Trial) bool {
	return slices.ContainsFunc(p.records, func(r stress.Record) bool {
		return r.Kind == stress.OfTrial && r.Result.Store == x.Store.Name && r.Name == x.Fault.Name
	})
}

// mayExcept notes what a trial may find, unless it was found.
func (p *page) mayExcept(x stress.Trial) {
	for _, c := range history.Checkers {
		if x.Documents(c.Name) {
			p.add(exception{store: x.Store.Name, fault: x.Fault.Name, checker: c.Name, guarantee: c.Guarantee, why: x.Why, known: true})
		}
	}
}

// add notes an exception, unless it is noted.
func (p *page) add(e exception) {
	same := func(o exception) bool {
		return o.store == e.store && o.fault == e.fault && o.guarantee == e.guarantee && o.known == e.known
	}
	if !slices.ContainsFunc(p.exceptions, same) {
		p.exceptions = append(p.exceptions, e)
	}
}

func (p *page) text() string {
	fmt.Fprintf(&p.out, head, p.commit)
	p.checkers()
	p.guarantees()
	p.heading("Faults", faultsText)
	p.faults(stress.Stores)
	p.faults(stress.Clusters)
	p.listExceptions()
	p.figures()
	p.mutants()
	p.peers()
	p.out.WriteString(tail)
	return p.out.String()
}

func (p *page) heading(title, text string) { fmt.Fprintf(&p.out, "\n## %s\n\n%s\n", title, text) }

// row writes one row of a table; an empty cell is a dash.
func (p *page) row(cells ...string) {
	for _, c := range cells {
		if c == "" {
			c = "–"
		}
		p.out.WriteString("| " + strings.ReplaceAll(c, "|", "\\|") + " ")
	}
	p.out.WriteString("|\n")
}

func (p *page) table(heads ...string) {
	p.out.WriteString("\n")
	p.row(heads...)
	p.out.WriteString(strings.Repeat("|---", len(heads)) + "|\n")
}

func (p *page) checkers() {
	p.table("checker", "guarantee", "what it looks for")
	for _, c := range history.Checkers {
		p.row(c.Name, c.Guarantee, c.Text)
	}
}

// marks are references to the exceptions that are as wanted, named for what broke.
func (p *page) marks(wanted func(exception) bool, named bool) string {
	var marks []string
	for i, e := range p.exceptions {
		if wanted(e) {
			mark := "*exception*"
			switch {
			case !e.known:
				mark = "**BROKEN**"
			case !e.seen:
				mark = "*not always*"
			}
			if named {
				mark += " " + e.guarantee
			}
			marks = append(marks, fmt.Sprintf("%s [(%d)](#%d)", mark, i+1, i+1))
		}
	}
	return strings.Join(marks, ", ")
}

// guarantees has a row for each guarantee and a column for each store.
func (p *page) guarantees() {
	p.heading("Guarantees", guaranteesText)
	names, ran := []string{"guarantee"}, p.ran(p.stores)
	for _, s := range ran {
		names = append(names, s.Name)
	}
	p.table(names...)
	for _, id := range checked() {
		cells := []string{id}
		for _, s := range ran {
			cells = append(cells, cmp.Or(
				p.marks(func(e exception) bool { return e.store == s.Name && e.guarantee == id }, false), unpromised(s, id), "held"))
		}
		p.row(cells...)
	}
}

// checked returns the guarantees that have checkers.
func checked() (ids []string) {
	for _, c := range history.Checkers {
		ids = append(ids, c.Guarantee)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// summary has a row for each store and a column for each guarantee, with the faults
// under which it does not hold. link leads to the page.
func (p *page) summary(link string) string {
	p.out.Reset()
	p.table(append([]string{"store"}, checked()...)...)
	for _, s := range p.ran(p.stores) {
		cells := []string{s.Name}
		for _, id := range checked() {
			var faults []string
			for i, e := range p.exceptions {
				if e.store != s.Name || e.guarantee != id {
					continue
				}
				fault := fmt.Sprintf("[%s](%s#%d)", cmp.Or(e.fault, "all faults"), link, i+1)
				if !e.known {
					fault = "**BROKEN** " + fault
				}
				faults = append(faults, fault)
			}
			cell := cmp.Or(unpromised(s, id), "held")
			if len(faults) > 0 {
				cell = "not under " + strings.Join(faults, ", ")
			}
			cells = append(cells, cell)
		}
		p.row(cells...)
	}
	return p.out.String()
}

// unpromised says that a store does not promise a guarantee.
func unpromised(s stress.Store, id string) string {
	if id == "G4" && !s.Promise.Fair {
		return "not promised"
	}
	return ""
}

// ran returns the stores that have runs.
func (p *page) ran(stores []stress.Store) (ran []stress.Store) {
	for _, s := range stores {
		if slices.ContainsFunc(p.records, func(r stress.Record) bool { return ofStore(r) && r.Result.Store == s.Name }) {
			ran = append(ran, s)
		}
	}
	return ran
}

// faults has a row for each fault and a column for each store.
func (p *page) faults(stores []stress.Store) {
	stores = p.ran(stores)
	if len(stores) == 0 {
		return
	}
	names := []string{"fault"}
	for _, s := range stores {
		names = append(names, s.Name)
	}
	p.table(names...)
	for _, f := range stress.Faults {
		cells, met := []string{f.Text}, false
		for _, s := range stores {
			n := p.injected(s, f)
			met = met || n > 0
			cells = append(cells, p.outcome(s, f, n))
		}
		if met {
			p.row(cells...)
		}
	}
}

func (p *page) injected(s stress.Store, f stress.Fault) (n int) {
	for _, r := range p.records {
		if ofStore(r) && r.Result.Store == s.Name {
			n += r.Result.Faults[f.Name]
		}
	}
	return n
}

func (p *page) outcome(s stress.Store, f stress.Fault, n int) string {
	if n == 0 {
		return ""
	}
	marks := p.marks(func(e exception) bool { return e.store == s.Name && e.fault == f.Name }, true)
	return fmt.Sprintf("%s (%d×)", cmp.Or(marks, "held"), n)
}

func (p *page) listExceptions() {
	p.heading("Exceptions", exceptionsText)
	if len(p.exceptions) == 0 {
		p.out.WriteString("\nNone.\n")
	}
	for i, e := range p.exceptions {
		if !e.seen {
			fmt.Fprintf(&p.out, "\n### %d\n\n**%s, %s: %s** may not hold, though no run has shown it this time. %s\n", i+1, e.store, e.fault, e.guarantee, e.why)
			continue
		}
		fmt.Fprintf(&p.out, "\n### %d\n\n**%s, %s: %s**, found by *%s* with seed %d.", i+1, e.store, cmp.Or(e.fault, "all faults"), e.guarantee, e.checker, e.seed)
		if !e.known {
			p.out.WriteString(" **Not documented: this is a violation.**")
		}
		if e.why != "" {
			p.out.WriteString(" " + e.why)
		}
		if e.lost == 0 {
			p.out.WriteString(" The guarded register lost no update in this run.")
		} else {
			fmt.Fprintf(&p.out, " The guarded register lost %d updates in this run.", e.lost)
		}
		fmt.Fprintf(&p.out, "\n\n> %s\n", e.text)
		again := "make faults STORE=" + e.store
		if e.fault != "" {
			again += " FAULT=" + e.fault
		}
		fmt.Fprintf(&p.out, "\n    %s SEED=%d\n", again, e.seed)
	}
}

func (p *page) figures() {
	p.heading("Figures", figuresText)
	p.table("store", "runs", "operations", "leases", "faults", "wall time", "updates lost without tokens", "machine stood still")
	for _, s := range p.ran(p.stores) {
		var runs, leases, faults, plain, stalls int
		var ops int64
		var took time.Duration
		for _, r := range p.records {
			if !ofStore(r) || r.Result.Store != s.Name {
				continue
			}
			runs, ops, leases, took = runs+1, ops+r.Result.Operations, leases+r.Result.Leases, took+r.Result.Took
			plain, stalls = plain+r.Result.Plain, stalls+r.Result.Stalls
			for _, n := range r.Result.Faults {
				faults += n
			}
		}
		p.row(s.Name, fmt.Sprint(runs), fmt.Sprint(ops), fmt.Sprint(leases), fmt.Sprint(faults), took.Round(time.Second).String(), fmt.Sprint(plain), fmt.Sprint(stalls))
	}
}

func (p *page) mutants() {
	p.heading("Lines of safety", mutantsText)
	p.table("store", "what is missing", "fault", "found by", "seed", "what was found first")
	p.found(stress.OfMutant, func(r stress.Record) string { return r.Name })
}

func (p *page) peers() {
	p.heading("Other libraries", peersText)
	p.table("store", "library: what it is known for", "fault", "found by", "seed", "what was found first")
	p.found(stress.OfPeer, func(r stress.Record) string { return r.Name })
}

// found has a row for each run of a kind that had to find something.
func (p *page) found(kind stress.Kind, name func(stress.Record) string) {
	records := slices.Clone(p.records)
	slices.SortStableFunc(records, func(a, b stress.Record) int {
		return cmp.Or(strings.Compare(a.Result.Store, b.Result.Store), strings.Compare(a.Name, b.Name))
	})
	for _, r := range records {
		if r.Kind != kind {
			continue
		}
		var faults []string
		for _, f := range stress.Faults {
			if r.Result.Faults[f.Name] > 0 {
				faults = append(faults, f.Name)
			}
		}
		by := r.Want
		if r.Found[r.Want] == 0 {
			by = "**not found**"
		}
		p.row(r.Result.Store, name(r), strings.Join(faults, ", "), by, fmt.Sprint(r.Result.Seed), r.First[r.Want])
	}
}
