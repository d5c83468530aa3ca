// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

const (
	stallTick = 10 * time.Millisecond
	stallLeft = 100 * time.Millisecond // by how much the ticks may be behind without a stall

	visitTick = 500 * time.Millisecond
	visitLong = 250 * time.Millisecond // some ten times what it takes where nothing else runs
)

// stalls records when the machine that runs the test stood still: at once, or in
// short steps, each of which holds up every step of an exchange; and when the store
// did, which may wait for a processor while this process does not.
type stalls struct {
	mu      sync.Mutex
	gaps    []gap
	visited time.Time // when the visit under way began; zero if none is
}

type gap struct {
	end  time.Time
	long time.Duration
}

func watchStalls(tb testing.TB) *stalls {
	s := &stalls{}
	stop := make(chan struct{})
	tb.Cleanup(func() { close(stop) })
	go func() {
		ticker := time.NewTicker(stallTick)
		defer ticker.Stop()
		var behind time.Duration
		for last := backend.Now(); ; {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			runtime.Gosched() // to the end of the line: a busy process stalls as well
			now := backend.Now()
			behind = fallBehind(behind, now.Sub(last))
			if behind > stallLeft {
				s.mu.Lock()
				s.gaps = append(s.gaps, gap{now, behind})
				s.mu.Unlock()
			}
			last = now
		}
	}()
	return s
}

// fallBehind returns by how much the ticks are behind after a gap between two of
// them. Gaps of up to twice a tick are no load to speak of, and make up for others.
func fallBehind(behind, gap time.Duration) time.Duration {
	return max(0, min(behind, stallLeft)+gap-2*stallTick)
}

// watchStore visits the store again and again until the test ends.
func (s *suite) watchStore(tb testing.TB) {
	tb.Helper()
	stop, ended := make(chan struct{}), make(chan struct{})
	tb.Cleanup(func() { close(stop); <-ended })
	name := newProbe(s, "visit").name("visit")
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(visitTick):
			}
			s.stalls.arrive()
			s.visit(name)
			s.stalls.leave()
		}
	}()
}

// visit has a client come, lock, unlock and go. What goes wrong is for checks to say.
func (s *suite) visit(name string) {
	s.once("visit", check{run: func(c *probe) { c.party().lock(name).unlock() }})
}

func (s *stalls) arrive() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visited = backend.Now()
}

func (s *stalls) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps = append(s.gaps, s.underWay()...)
	s.visited = time.Time{}
}

// underWay is the gap that the visit under way is by now, if any. s.mu is held.
func (s *stalls) underWay() []gap {
	now := backend.Now()
	if long := now.Sub(s.visited); !s.visited.IsZero() && long > visitLong {
		return []gap{{now, long}}
	}
	return nil
}

// since returns the longest stall after t.
func (s *stalls) since(t time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range append(s.underWay(), s.gaps...) {
		if g.end.After(t) {
			longest = max(longest, g.long)
		}
	}
	return longest
}
