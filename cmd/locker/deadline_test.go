// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

// A given is an order and when it came, after the start.
type given struct {
	order order
	at    time.Duration
}

// CMD2: SIGTERM comes before the deadline, SIGKILL by the deadline.
func TestHazard_CMD2(t *testing.T) {
	const ttl = 30 * time.Second
	for name, tt := range map[string]struct {
		grace    time.Duration
		deadline time.Duration // after the start; 0: none
		renewals int           // each moves the deadline by 10 s, when 10 s have passed
		told     time.Duration // when the store says that the lease is lost; 0: never
		want     []given
	}{
		"not renewed": {
			grace: 2 * time.Second, deadline: 28 * time.Second,
			want: []given{{terminate, 26 * time.Second}, {kill, 28 * time.Second}},
		},
		"not renewed, with a grace longer than a sixth of the TTL": {
			grace: time.Minute, deadline: 28 * time.Second,
			want: []given{{terminate, 23 * time.Second}, {kill, 28 * time.Second}},
		},
		"not renewed, without grace": {
			deadline: 28 * time.Second,
			want:     []given{{terminate, 28 * time.Second}, {kill, 28 * time.Second}},
		},
		"renewed three times": {
			grace: 2 * time.Second, deadline: 28 * time.Second, renewals: 3,
			want: []given{{terminate, 56 * time.Second}, {kill, 58 * time.Second}},
		},
		"told by the store": {
			grace: 8 * time.Second, deadline: 28 * time.Second, told: 5 * time.Second,
			want: []given{{terminate, 5 * time.Second}, {kill, 13 * time.Second}},
		},
		"told by the store when SIGTERM is out": {
			grace: 4 * time.Second, deadline: 28 * time.Second, told: 25 * time.Second,
			want: []given{{terminate, 24 * time.Second}, {kill, 28 * time.Second}},
		},
		"told by a store without a deadline": {
			grace: 8 * time.Second, told: time.Hour,
			want: []given{{terminate, time.Hour}, {kill, time.Hour + 8*time.Second}},
		},
		"passed already": {
			grace: 8 * time.Second, deadline: -time.Second,
			want: []given{{terminate, 0}, {kill, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := backend.Now()
				ctx, lose := context.WithCancelCause(t.Context())
				defer lose(nil)
				deadline := func() time.Time {
					if tt.deadline == 0 {
						return time.Time{}
					}
					renewed := min(time.Duration(tt.renewals), backend.Now().Sub(start)/(10*time.Second))
					return start.Add(tt.deadline + renewed*10*time.Second)
				}
				if tt.told != 0 {
					time.AfterFunc(tt.told, func() { lose(locker.ErrLost) })
				}
				done := make(chan struct{})
				orders := enforce(locker.NewLease(ctx, "x", 1, deadline), ttl, tt.grace, done)
				for _, want := range tt.want {
					if got := (given{<-orders, backend.Now().Sub(start)}); got != want {
						t.Errorf("order %+v, want %+v", got, want)
					}
				}
				close(done)
			})
		})
	}
}

// When the command has ended nothing is left that watches its lease, nor waits
// for somebody to take its orders.
func TestEnforceEnds(t *testing.T) {
	for name, until := range map[string]time.Duration{
		"while all is well": 1 * time.Second,
		"with an order out": 27 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				end := backend.Now().Add(28 * time.Second)
				done := make(chan struct{})
				enforce(locker.NewLease(t.Context(), "x", 1, func() time.Time { return end }), 30*time.Second, 2*time.Second, done)
				time.Sleep(until)
				close(done)
			}) // which fails if a goroutine stays
		})
	}
}
