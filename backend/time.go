// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"sync/atomic"
	"time"
)

// slept is the longest that the machine is known to have slept since start, in
// nanoseconds. It never decreases.
var slept atomic.Int64

// Now is the time of leases: [time.Now], moved on by what the machine slept
// since the process started, since Go's clock stands still while a machine is
// suspended and the store's does not. It is the only clock of the Client and
// of adapters. Compare its results with each other, never with time.Now.
func Now() time.Time {
	now := time.Now()
	s := sleptSince(now)
	for {
		known := slept.Load()
		if s <= known {
			return now.Add(time.Duration(known))
		}
		if slept.CompareAndSwap(known, s) {
			return now.Add(time.Duration(s))
		}
	}
}

// Margin is how long before Grant.Until a lease ends locally: a twentieth of
// the TTL, at least 250 ms, at most a quarter of the TTL. It covers the
// difference in rate of two clocks, late timers, garbage collection and a
// store's rounding, not a difference of clocks.
func Margin(ttl time.Duration) time.Duration {
	return min(max(ttl/20, 250*time.Millisecond), ttl/4)
}

// Linger is how long an exchange may outlive the context of its caller: a
// sixth of the TTL, at least 1 s, at most 5 s.
func Linger(ttl time.Duration) time.Duration {
	return min(max(ttl/6, time.Second), 5*time.Second)
}

// LingerContext returns a context with the values of ctx that ends [Linger]
// after ctx does. The exchanges of [Backend.Lock] use it, so that the late
// answer of the store is Lock's own return. Call cancel when Lock returns.
func LingerContext(ctx context.Context, ttl time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(Linger(ttl), func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(out, func() { timer.Stop() })
	})
	return out, func() {
		stop()
		cancel(context.Canceled)
	}
}
