// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A probe is one attempt at a check, and the testing.TB that it hands to the
// harness. It records failures instead of failing a test, so that a void attempt
// can be repeated, and the suite can be tested.
type probe struct {
	testing.TB // of Run's caller, for TempDir and the like

	suite  *suite
	h      *Harness
	info   backend.Info
	ttl    time.Duration
	id     string
	tag    string // unique to this attempt; part of its lock names
	began  time.Time
	ctx    context.Context // of the check; ends when it may take no longer
	cancel context.CancelFunc

	mu       sync.Mutex
	failures []failure
	crashed  string
	skipped  string
	log      []string
	cleanups []func()
}

// A failure is of liveness (late) or of safety.
type failure struct {
	text string
	late bool
}

func newProbe(s *suite, id string) *probe {
	c := &probe{TB: s.tb, suite: s, h: &s.h, info: s.info, ttl: s.ttl, id: id, tag: rand.Text()[:10], began: backend.Now()}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// end runs the cleanups, the last one first, even if one ends the goroutine.
func (c *probe) end() {
	c.mu.Lock()
	n := len(c.cleanups)
	if n == 0 {
		c.mu.Unlock()
		c.cancel()
		return
	}
	last := c.cleanups[n-1]
	c.cleanups = c.cleanups[:n-1]
	c.mu.Unlock()
	defer c.end()
	defer func() {
		if v := recover(); v != nil {
			c.crash(fmt.Sprintf("panic in a cleanup: %v", v))
		}
	}()
	last()
}

func (c *probe) verdict() (status Status, detail string, log []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	log = c.log
	switch {
	case c.crashed != "":
		return Error, c.crashed, log
	case len(c.failures) > 0:
		texts := []string{}
		for _, f := range c.failures {
			texts = append(texts, f.text)
		}
		return Fail, strings.Join(texts, "; "), log
	case c.skipped != "":
		return Skip, c.skipped, log
	}
	return Pass, "", log
}

func (c *probe) onlyLate() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.failures {
		if !f.late {
			return false
		}
	}
	return true
}

func (c *probe) record(f failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, f)
}

func (c *probe) crash(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.crashed = text
}

// late ends the check with a failure of liveness.
func (c *probe) late(format string, args ...any) {
	c.record(failure{fmt.Sprintf(format, args...), true})
	runtime.Goexit()
}

// fail ends the check because of an error: with a failure of liveness if the
// error is one that a machine which stands still explains. Where it explains
// nothing, as a loss before the deadline, the check calls Fatalf.
func (c *probe) fail(err error, format string, args ...any) {
	c.failOn(err, format, args...)
	runtime.Goexit()
}

// failOn is fail for one goroutine of many: the check goes on.
func (c *probe) failOn(err error, format string, args ...any) {
	text := fmt.Sprintf(format, args...) + ": " + err.Error()
	late := errors.Is(err, backend.ErrLost) || errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
	c.record(failure{text, late})
}

// pass ends the check: there is nothing more to see.
func (c *probe) pass() { runtime.Goexit() }

// skip ends the check because the harness cannot do what it needs.
func (c *probe) skip(format string, args ...any) { c.Skipf(format, args...) }

// The methods of testing.TB that must not reach the test of Run's caller.

func (c *probe) Name() string             { return c.id }
func (c *probe) Helper()                  {}
func (c *probe) Context() context.Context { return c.ctx }
func (c *probe) Fail()                    { c.record(failure{text: "failed"}) }
func (c *probe) FailNow()                 { c.Fail(); runtime.Goexit() }
func (c *probe) Log(args ...any)          { c.note(fmt.Sprint(args...)) }
func (c *probe) Error(args ...any)        { c.record(failure{text: fmt.Sprint(args...)}) }
func (c *probe) Fatal(args ...any)        { c.Error(args...); runtime.Goexit() }
func (c *probe) Skip(args ...any)         { c.Skipf("%s", fmt.Sprint(args...)) }
func (c *probe) SkipNow()                 { c.Skipf("no reason given") }
func (c *probe) Output() io.Writer        { return noteWriter{c} }

func (c *probe) Logf(format string, args ...any)   { c.note(fmt.Sprintf(format, args...)) }
func (c *probe) Errorf(format string, args ...any) { c.Error(fmt.Sprintf(format, args...)) }
func (c *probe) Fatalf(format string, args ...any) { c.Fatal(fmt.Sprintf(format, args...)) }

// A stage is the probe as the harness's functions have it: what they could not do is
// never a failure of safety.
type stage struct{ *probe }

func (s stage) Fail()                             { s.record(failure{"the harness failed", true}) }
func (s stage) FailNow()                          { s.Fail(); runtime.Goexit() }
func (s stage) Error(args ...any)                 { s.record(failure{fmt.Sprint(args...), true}) }
func (s stage) Fatal(args ...any)                 { s.Error(args...); runtime.Goexit() }
func (s stage) Errorf(format string, args ...any) { s.Error(fmt.Sprintf(format, args...)) }
func (s stage) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }

func (c *probe) Skipf(format string, args ...any) {
	c.mu.Lock()
	c.skipped = fmt.Sprintf(format, args...)
	c.mu.Unlock()
	runtime.Goexit()
}

func (c *probe) Failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.failures) > 0 || c.crashed != ""
}

func (c *probe) Skipped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skipped != ""
}

func (c *probe) Cleanup(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cleanups = append(c.cleanups, f)
}

func (c *probe) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = append(c.log, strings.TrimRight(text, "\n"))
}

type noteWriter struct{ c *probe }

func (w noteWriter) Write(p []byte) (int, error) {
	w.c.note(string(p))
	return len(p), nil
}
