// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Callers of one lock that come and go at every moment, in three processes, some
// of which must not wait, exclude each other, and leave nothing.
func TestChurn(t *testing.T) {
	t.Parallel()
	const rounds, callers = 40, 12
	server := shared(t)
	admin := native(t, server.Addr)
	var inside, granted atomic.Int32
	var last atomic.Int64
	var all sync.WaitGroup
	for range 3 {
		b := openURL(t, urlOf(server.Addr, "ttl=1m"))
		for range callers {
			all.Go(func() {
				for range rounds {
					req := request("churn")
					req.TTL, req.NoWait = time.Minute, rand.IntN(4) == 0
					ctx, cancel := context.WithCancel(bounded(t))
					timer := time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, cancel)
					g, err := b.Lock(ctx, req)
					timer.Stop()
					cancel()
					if err != nil {
						if g != nil {
							withdraw(t, b, g)
						}
						continue
					}
					granted.Add(1)
					if inside.Add(1) != 1 {
						t.Error("two holders")
					}
					if before := last.Swap(g.Token); before >= g.Token {
						t.Errorf("token %d after %d", g.Token, before)
					}
					inside.Add(-1)
					unlock(t, b, g)
				}
			})
		}
	}
	all.Wait()
	t.Logf("%d of %d were granted", granted.Load(), 3*callers*rounds)
	eventually(t, "nothing is left in the server", func() bool { return admin.locks(t, "churn") == 0 })
	b := openURL(t, urlOf(server.Addr))
	unlock(t, b, lock(t, b, noWait("churn")))
}
