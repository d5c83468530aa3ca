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
)

// stalls records when the machine that runs the test stood still: at once, or in
// short steps, each of which holds up every step of an exchange.
type stalls struct {
	mu   sync.Mutex
	gaps []gap
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

// since returns the longest stall after t.
func (s *stalls) since(t time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.gaps {
		if g.end.After(t) {
			longest = max(longest, g.long)
		}
	}
	return longest
}
