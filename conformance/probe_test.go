// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// try runs one made-up check.
func try(t *testing.T, run func(c *probe)) Result {
	s := newSuite(t, referenceHarness(false))
	return s.result("G0_Test", check{name: "Made", rule: "A rule.", run: run})
}

func TestVerdict(t *testing.T) {
	for name, tc := range map[string]struct {
		run    func(c *probe)
		status Status
		detail string
	}{
		"pass":                  {func(*probe) {}, Pass, ""},
		"error":                 {func(c *probe) { c.Error("one"); c.Errorf("%s", "two") }, Fail, "one; two"},
		"fatal":                 {func(c *probe) { c.Fatal("one"); c.Error("never") }, Fail, "one"},
		"fatal of a harness":    {func(c *probe) { func(tb testing.TB) { tb.Fatalf("no server") }(c) }, Fail, "no server"},
		"late":                  {func(c *probe) { c.late("too late") }, Fail, "too late"},
		"skip":                  {func(c *probe) { c.skip("no proxy") }, Skip, "no proxy"},
		"panic":                 {func(*probe) { panic("oops") }, Error, "oops"},
		"panic in a cleanup":    {func(c *probe) { c.Cleanup(func() { panic("oops") }) }, Error, "oops"},
		"fatal in a cleanup":    {func(c *probe) { c.Cleanup(func() { c.Fatal("late news") }) }, Fail, "late news"},
		"fail beats skip":       {func(c *probe) { c.Error("one"); c.skip("no proxy") }, Fail, "one"},
		"loss is liveness only": {func(c *probe) { c.fail(backend.ErrLost, "a wait") }, Fail, "a wait: lock lost"},
	} {
		t.Run(name, func(t *testing.T) {
			r := try(t, tc.run)
			if r.Status != tc.status || !strings.Contains(r.Detail, tc.detail) {
				t.Errorf("%s: %q, want %s: %q", r.Status, r.Detail, tc.status, tc.detail)
			}
		})
	}
}

func TestCleanupOrder(t *testing.T) {
	var order []int
	try(t, func(c *probe) {
		for i := range 3 {
			c.Cleanup(func() { order = append(order, i); c.FailNow() })
		}
		c.FailNow()
	})
	if want := []int{2, 1, 0}; !slices.Equal(order, want) {
		t.Errorf("cleanups ran in the order %v, want %v", order, want)
	}
}

// A stall makes a failure of liveness void, three times at most, and excuses no
// failure of safety.
func TestStall(t *testing.T) {
	stall := func(c *probe) {
		c.suite.stalls.mu.Lock()
		defer c.suite.stalls.mu.Unlock()
		c.suite.stalls.gaps = append(c.suite.stalls.gaps, gap{backend.Now().Add(time.Second), time.Second})
	}
	for name, tc := range map[string]struct {
		run    func(c *probe, attempt int)
		status Status
		runs   int
	}{
		"liveness, then a pass": {func(c *probe, attempt int) {
			if attempt == 1 {
				stall(c)
				c.late("late")
			}
		}, Pass, 2},
		"liveness each time": {func(c *probe, _ int) { stall(c); c.late("late") }, Error, 3},
		"liveness, no stall": {func(c *probe, _ int) { c.suite.stalls.forget(); c.late("late") }, Fail, 1},
		"safety":             {func(c *probe, _ int) { stall(c); c.Fatal("two holders") }, Fail, 1},
		"an error that a stall explains": {func(c *probe, _ int) {
			stall(c)
			c.fail(fmt.Errorf("%w: no answer", backend.ErrUnavailable), "Lock")
		}, Error, 3},
		"a loss that it does not explain": {func(c *probe, _ int) { stall(c); c.Fatalf("lost, 1 s early: %v", backend.ErrLost) }, Fail, 1},
		"an error that it does not":       {func(c *probe, _ int) { stall(c); c.fail(backend.ErrLocked, "Lock") }, Fail, 1},
		"a harness that could not open": {func(c *probe, _ int) {
			stall(c)
			c.openWith(func(t testing.TB) Client { t.Fatal("no answer"); return Client{} })
		}, Error, 3},
		"calls that the end of the check ends": {func(c *probe, _ int) {
			stall(c)
			name := c.name("crowd")
			var calls sync.WaitGroup
			c.Cleanup(calls.Wait) // after the Client is closed
			c.party().hold(name)
			a := c.party().application()
			calls.Go(func() { (&ledger{application: a}).round(a, name, 0) })
			c.until(time.Minute, func() bool { return a.spy.count("locked") > 0 })
			c.late("late")
		}, Error, 3},
		"both": {func(c *probe, _ int) { stall(c); c.Error("two holders"); c.late("late") }, Fail, 1},
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			r := try(t, func(c *probe) { runs++; tc.run(c, runs) })
			if r.Status != tc.status || runs != tc.runs {
				t.Errorf("%s after %d runs, want %s after %d: %s", r.Status, runs, tc.status, tc.runs, r.Detail)
			}
		})
	}
}

// A store that stands still makes a failure of liveness void as well, while it does
// and afterwards, though this process stands still at no time.
func TestSlowStore(t *testing.T) {
	store := newStore(nil)
	s := newSuite(t, Harness{Open: store.opener(false)})
	s.watchStore(t)
	for name, resumed := range map[string]bool{"while it does": false, "afterwards": true} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			r := s.result("G0_Test", check{name: "Made", rule: "A rule.", run: func(c *probe) {
				if runs++; runs > 1 {
					return
				}
				resume := sync.OnceFunc(store.pause())
				c.Cleanup(resume)
				c.pause(visitTick + 2*visitLong)
				s.stalls.forget()
				if resumed {
					resume()
					c.pause(visitTick)
				}
				c.late("late")
			}})
			if r.Status != Pass || runs != 2 {
				t.Errorf("%s after %d runs, want pass after 2: %s", r.Status, runs, r.Detail)
			}
		})
	}
}

// No bug makes a store look as if it stood still, which would excuse its lateness.
func TestVisitsOfMutants(t *testing.T) {
	for _, m := range mutants {
		s := newSuite(t, referenceHarness(m.sessions, m.bug))
		shortest := time.Hour
		for range 5 { // this machine may stand still itself
			began := backend.Now()
			s.visit("visit")
			shortest = min(shortest, backend.Now().Sub(began))
		}
		if shortest > visitLong {
			t.Errorf("with the bug %q a visit takes %v", m.bug, shortest)
		}
	}
}

// A machine that stands still in short steps is as late as one that does at once.
func TestFallBehind(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		gaps  []time.Duration
		stall bool
	}{
		"idle":            {slices.Repeat([]time.Duration{11 * ms}, 1000), false},
		"busy":            {slices.Repeat([]time.Duration{20 * ms}, 1000), false},
		"at once":         {[]time.Duration{121 * ms}, true},
		"in steps":        {slices.Repeat([]time.Duration{60 * ms}, 3), true},
		"slow for long":   {slices.Repeat([]time.Duration{26 * ms}, 20), true},
		"one step a time": {slices.Repeat([]time.Duration{60 * ms, 10 * ms, 10 * ms, 10 * ms, 10 * ms}, 100), false},
	} {
		var behind time.Duration
		stall := false
		for _, gap := range c.gaps {
			behind = fallBehind(behind, gap)
			stall = stall || behind > stallLeft
		}
		if stall != c.stall {
			t.Errorf("%s: stall is %v", name, stall)
		}
	}
}

func (s *stalls) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = nil
}

// A capability that the harness lacks is a skip that names it.
func TestMissing(t *testing.T) {
	bare := Harness{Open: referenceHarness(false).Open}
	s := newSuite(t, bare)
	for needs, want := range map[need]string{
		needURL: "URL", needBreak: "Break", needLeftovers: "Leftovers", needRefusals: "Refusals", needServer: "NewServer",
	} {
		r := s.result("G0_Test", check{needs: needs, run: func(c *probe) { t.Errorf("a check ran without %s", want) }})
		if r.Status != Skip || !strings.Contains(r.Detail, want) {
			t.Errorf("%s: %q, want a skip that names %s", r.Status, r.Detail, want)
		}
	}
}

func TestReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	r := &Report{Backend: "a/b", TTL: "2s", Checks: []Result{
		{Guarantee: "G1_Exclusion", Name: "A", Rule: "Rule <1>.", Status: Pass, Seconds: 1.5},
		{Guarantee: "G1_Exclusion", Name: "B", Rule: "Rule 2.", Status: Fail, Detail: "two holders"},
		{Guarantee: "G2_SelfFencing", Name: "C", Status: Skip, Detail: "the harness has no URL"},
		{Guarantee: "G2_SelfFencing", Name: "D", Status: Error, Detail: "panic"},
		{Guarantee: "G2_SelfFencing", Name: "E", Status: Skip, Detail: "the harness has no Link"},
	}}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	var back Report
	if text, err := os.ReadFile(filepath.Join(dir, "a-b.json")); err != nil {
		t.Error(err)
	} else if err := json.Unmarshal(text, &back); err != nil || !slices.EqualFunc(back.Checks, r.Checks, func(a, b Result) bool { return a.Name == b.Name && a.Status == b.Status && a.Detail == b.Detail }) {
		t.Errorf("the JSON says %+v, %v", back, err)
	}
	var suite junitSuite
	text, err := os.ReadFile(filepath.Join(dir, "a-b.xml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != 5 || suite.Failures != 1 || suite.Errors != 1 || suite.Skipped != 2 || suite.Cases[1].Failure == nil || suite.Cases[1].Failure.Text != "two holders" {
		t.Errorf("the XML says %+v", suite)
	}
	for _, want := range []string{"NOT CHECKED: G2_SelfFencing/C: the harness has no URL", "G1_Exclusion       1 pass   1 fail   0 skip   0 error"} {
		if !strings.Contains(r.Summary(), want) {
			t.Errorf("the summary lacks %q:\n%s", want, r.Summary())
		}
	}
}

// Every check says what its rule is, and has a name of its own.
func TestChecks(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range guarantees() {
		for _, ck := range g.checks {
			id := g.id + "/" + ck.name
			switch {
			case seen[id]:
				t.Errorf("%s is there twice", id)
			case !strings.HasSuffix(ck.rule, ".") || len(ck.rule) < 30:
				t.Errorf("%s has no sentence that says its rule: %q", id, ck.rule)
			}
			seen[id] = true
		}
	}
	for _, m := range mutants {
		if !seen[m.killer] {
			t.Errorf("%s, the killer of %q, is not there", m.killer, m.bug)
		}
	}
}

func TestWeirdNames(t *testing.T) {
	names := weird("base")
	slices.Sort(names)
	if n := len(slices.Compact(slices.Clone(names))); n != len(names) {
		t.Errorf("%d names, %d of them different", len(names), n)
	}
	for _, name := range names {
		if len(name) > 512 {
			t.Errorf("a name of %d bytes", len(name))
		}
	}
}
