// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A guarantee is what the suite's first level of subtests is named after.
type guarantee struct {
	id     string // such as "G1_Exclusion"
	checks []check
}

// A check is one subtest.
type check struct {
	name  string
	rule  string // what must hold, and what it does to a user if it does not
	needs need
	alone bool // runs while no other check does
	run   func(c *probe)
}

func guarantees() []guarantee {
	return []guarantee{
		{"G1_Exclusion", exclusion},
		{"G2_SelfFencing", selfFencing},
		{"G3_Fencing", fencing},
		{"G4_Fairness", fairness},
		{"G5_Liveness", liveness},
		{"G6_NothingLeft", nothingLeft},
		{"G7_ExactUnlock", exactUnlock},
		{"G8_ExactRenew", exactRenew},
		{"G9_ClearErrors", clearErrors},
		{"G10_Cost", cost},
		{"G11_Names", names},
		{"G12_Secrets", secrets},
		{"G13_CleanEnd", cleanEnd},
	}
}

// Run tests a backend. In t's own test nothing else should run.
func Run(t *testing.T, h Harness) {
	t.Helper()
	s := newSuite(t, h)
	s.watchStore(t)
	s.start(selection(t.Name()))
	defer func() {
		t.Log(s.report.Summary())
		if dir := os.Getenv("LOCKER_CONFORMANCE_DIR"); dir != "" {
			if err := s.report.Write(dir); err != nil {
				t.Error(err)
			}
		}
	}()
	for _, g := range guarantees() {
		t.Run(g.id, func(t *testing.T) {
			for _, ck := range g.checks {
				t.Run(ck.name, func(t *testing.T) {
					r := s.result(g.id, ck)
					s.report.Checks = append(s.report.Checks, r)
					show(t, r)
				})
			}
		})
	}
}

func show(t *testing.T, r Result) {
	t.Helper()
	for _, line := range r.log {
		t.Log(line)
	}
	switch r.Status {
	case Pass:
		t.Logf("passed in %.1f s", r.Seconds)
	case Skip:
		t.Skipf("NOT CHECKED: %s", r.Detail)
	default:
		t.Errorf("%s: %s: %s\n\tThe rule: %s", r.Guarantee+"/"+r.Name, r.Status, r.Detail, r.Rule)
	}
}

// A suite is one Run. Its checks run in goroutines of their own, all at once,
// and the subtests only show their results: the number of parallel subtests is
// bounded by -parallel, which is the number of processors by default.
type suite struct {
	tb     testing.TB
	h      Harness
	info   backend.Info
	ttl    time.Duration
	stalls *stalls
	report *Report
	trials map[string]*trial // by guarantee and name of the check
	slots  chan struct{}

	attempts int // at a check whose results are void
}

func newSuite(tb testing.TB, h Harness) *suite {
	tb.Helper()
	if h.Open == nil {
		tb.Fatal("conformance: Harness.Open is missing")
	}
	s := &suite{tb: tb, h: h, trials: map[string]*trial{}, stalls: watchStalls(tb), attempts: maxAttempts}
	first := h.Open(tb)
	s.info = first.Backend.Info()
	if err := first.Backend.Close(); err != nil {
		tb.Fatalf("conformance: Close of a backend that did nothing: %v", err)
	}
	s.ttl = h.TTL
	if s.ttl == 0 {
		s.ttl = max(2*time.Second, s.info.MinTTL)
	}
	if err := s.info.CheckTTL(s.ttl); err != nil {
		tb.Fatalf("conformance: Harness.TTL: %v", err)
	}
	if s.info.Name == "" || s.info.Reclaim == nil || s.info.Fair && s.info.Poll > 0 {
		tb.Fatalf("conformance: Info needs a Name and Reclaim, and has Poll only if it is not Fair: %+v", s.info)
	}
	s.slots = make(chan struct{}, max(h.Parallel, 0))
	if h.Parallel == 0 {
		s.slots = make(chan struct{}, 64)
	}
	name := h.Name
	if name == "" {
		name = s.info.Name
	}
	s.report = &Report{
		Backend: name, TTL: s.ttl.String(), Started: backend.Now().UTC(),
		Fencing: s.info.Fencing, Fair: s.info.Fair, Poll: s.info.Poll > 0,
	}
	return s
}

// start starts the selected checks: first those that run alone, then the rest, and
// last, alone again, those whose results are void.
func (s *suite) start(selected func(id, name string) bool) {
	var alone, together []*trial
	for _, g := range guarantees() {
		for _, ck := range g.checks {
			if !selected(g.id, ck.name) {
				continue
			}
			t := newTrial(g.id, ck)
			s.trials[g.id+"/"+ck.name] = t
			if ck.alone {
				alone = append(alone, t)
			} else {
				together = append(together, t)
			}
		}
	}
	go func() {
		for _, t := range alone {
			s.attempt(t)
		}
		var first sync.WaitGroup
		for _, t := range together {
			s.slots <- struct{}{}
			<-time.After(apart)
			first.Go(func() {
				defer func() { <-s.slots }()
				s.attempt(t)
			})
		}
		first.Wait()
		for _, t := range slices.Concat(alone, together) {
			s.finish(t)
		}
	}()
}

// result waits for a check that was started, or runs it.
func (s *suite) result(id string, ck check) Result {
	t, started := s.trials[id+"/"+ck.name]
	if !started {
		t = newTrial(id, ck)
		s.finish(t)
	}
	<-t.done
	return t.Result
}

const maxAttempts = 3

// apart is the time between the starts of two checks, so that not all connect at
// the same moment.
const apart = 5 * time.Millisecond

// A trial is a check that is run until its result is not void. One goroutine at a
// time uses it, until it is done.
type trial struct {
	check
	Result
	attempts int
	done     chan struct{}
}

func newTrial(id string, ck check) *trial {
	return &trial{check: ck, Result: Result{Guarantee: id, Name: ck.name, Rule: ck.rule}, done: make(chan struct{})}
}

// finish makes attempts until t is done.
func (s *suite) finish(t *trial) {
	for {
		select {
		case <-t.done:
			return
		default:
			s.attempt(t)
		}
	}
}

// attempt runs a check once, after which it is done unless the result is void.
func (s *suite) attempt(t *trial) {
	if missing := t.needs.missing(s.h); missing != "" {
		t.Status, t.Detail = Skip, "the harness has no "+missing
		close(t.done)
		return
	}
	t.attempts++
	began := backend.Now()
	c := s.once(t.Guarantee, t.check)
	var log []string
	t.Status, t.Detail, log = c.verdict()
	t.Seconds += backend.Now().Sub(began).Seconds()
	t.log = append(t.log, log...)
	stood := s.stalls.since(c.began)
	if t.Status != Fail || !c.onlyLate() || stood == 0 {
		if t.Status == Fail {
			t.Detail += fmt.Sprintf(" (this machine and the store stood still for at most %v)", stood.Round(time.Millisecond))
		}
		close(t.done)
		return
	}
	t.log = append(t.log, fmt.Sprintf("attempt %d is void: this machine or the store stood still for %v; it failed with: %s", t.attempts, stood, t.Detail))
	if t.attempts == s.attempts {
		t.Status = Error
		t.Detail = fmt.Sprintf("no result: this machine or the store stood still in each of %d attempts; the last: %s", t.attempts, t.Detail)
		close(t.done)
	}
}

// once runs a check in a goroutine of its own, with a label that marks all
// goroutines which come of it.
func (s *suite) once(id string, ck check) *probe {
	c := newProbe(s, id+"/"+ck.name)
	ended := make(chan struct{})
	go pprof.Do(c.ctx, pprof.Labels(goroutineLabel, c.tag), func(context.Context) {
		defer close(ended)
		defer c.end()
		defer func() {
			if v := recover(); v != nil {
				c.crash(fmt.Sprintf("panic: %v\n%s", v, debug.Stack()))
			}
		}()
		ck.run(c)
	})
	limit := s.limit()
	select {
	case <-ended:
		return c
	case <-time.After(limit):
	}
	c.cancel()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		c.crash("it did not end, nor after its context did; goroutines:\n" + goroutines(c.tag))
	}
	c.record(failure{text: fmt.Sprintf("it did not end within %v", limit), late: true})
	return c
}

// limit is how long a check may take: far more than any does.
func (s *suite) limit() time.Duration {
	return 30*time.Second + 15*max(s.ttl, s.info.Reclaim(s.ttl))
}

// selection tells from -test.run which checks the subtests of test will ask for.
// A check that it leaves out by mistake runs when its subtest does.
func selection(test string) func(id, name string) bool {
	all := func(string, string) bool { return true }
	f := flag.Lookup("test.run")
	if f == nil || f.Value.String() == "" {
		return all
	}
	depth := strings.Count(test, "/") + 1
	elements := strings.Split(f.Value.String(), "/")
	if len(elements) <= depth {
		return all
	}
	match := func(i int, s string) bool {
		if i >= len(elements) {
			return true
		}
		ok, err := regexp.MatchString(elements[i], s)
		return ok && err == nil
	}
	return func(id, name string) bool { return match(depth, id) && match(depth+1, name) }
}
