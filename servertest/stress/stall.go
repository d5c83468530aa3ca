// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"sync"
	"time"

	"github.com/golocker/locker/servertest/history"
)

const (
	stallTick = 10 * time.Millisecond
	stallLeft = 100 * time.Millisecond // longest gap between two ticks that is no stall
)

// watchStalls tells when this machine, or this process, stood still.
func watchStalls(tell func(from, to time.Duration)) (stop func()) {
	over := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		ticker := time.NewTicker(stallTick)
		defer ticker.Stop()
		for last := history.Now(); ; {
			select {
			case <-over:
				return
			case <-ticker.C:
			}
			now := history.Now()
			if now-last > stallLeft {
				tell(last, now)
			}
			last = now
		}
	})
	return sync.OnceFunc(func() {
		close(over)
		watching.Wait()
	})
}
