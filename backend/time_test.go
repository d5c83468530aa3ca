// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/memory"
)

func TestMarginAndLinger(t *testing.T) {
	for _, tt := range []struct{ ttl, margin, linger time.Duration }{
		{200 * time.Millisecond, 50 * time.Millisecond, time.Second},
		{time.Second, 250 * time.Millisecond, time.Second},
		{2 * time.Second, 250 * time.Millisecond, time.Second},
		{12 * time.Second, 600 * time.Millisecond, 2 * time.Second},
		{30 * time.Second, 1500 * time.Millisecond, 5 * time.Second},
		{time.Hour, 3 * time.Minute, 5 * time.Second},
	} {
		if got := backend.Margin(tt.ttl); got != tt.margin {
			t.Errorf("Margin(%v) = %v, want %v", tt.ttl, got, tt.margin)
		}
		if got := backend.Linger(tt.ttl); got != tt.linger {
			t.Errorf("Linger(%v) = %v, want %v", tt.ttl, got, tt.linger)
		}
	}
}

func TestLingerContextOutlivesItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		parent, end := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		ctx, cancel := backend.LingerContext(parent, 12*time.Second)
		defer cancel()
		if ctx.Value(key{}) != "value" {
			t.Error("the values of the parent are not passed on")
		}
		time.Sleep(time.Hour)
		why := errors.New("why")
		end(why)
		time.Sleep(2*time.Second - 1)
		synctest.Wait()
		if ctx.Err() != nil {
			t.Errorf("ended before Linger had passed: %v", context.Cause(ctx))
		}
		time.Sleep(1)
		synctest.Wait()
		if !errors.Is(context.Cause(ctx), why) {
			t.Errorf("after Linger its cause is %v, want the parent's", context.Cause(ctx))
		}
	})
}

func TestLingerContextEndsWithCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, end := context.WithCancel(t.Context())
		ctx, cancel := backend.LingerContext(parent, 12*time.Second)
		end()
		synctest.Wait()
		cancel()
		if ctx.Err() == nil {
			t.Error("cancel does not end it")
		}
		start := time.Now()
		synctest.Wait() // a timer left running would keep the bubble's clock going
		if time.Since(start) != 0 {
			t.Error("time passed")
		}
	})
}

func TestNowFollowsTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := backend.Now()
		time.Sleep(time.Minute)
		if d := backend.Now().Sub(before); d != time.Minute {
			t.Errorf("Now moved by %v in a minute", d)
		}
	})
}

// The machine sleeps for longer than the TTL. Go's timers stood still, so only
// the look at the clock of leases can end the lease: Err at once, the Context
// within one tick.
func TestHazard_G2e_SuspendEndsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ttl = 20 * time.Second
		client, err := locker.New(memory.New(), &locker.Config{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		lease, err := client.Lock(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		seen, err := client.Lock(t.Context(), "other")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)

		backend.Suspend(ttl)
		if err := seen.Err(); !errors.Is(err, locker.ErrLost) {
			t.Errorf("Err right after the resume is %v, want ErrLost", err)
		}
		resumed := time.Now()
		<-lease.Context().Done()
		if d := time.Since(resumed); d > backend.Margin(ttl)/2 {
			t.Errorf("the Context ended %v after the resume, later than one tick", d)
		}
		if cause := context.Cause(lease.Context()); !errors.Is(cause, locker.ErrLost) {
			t.Errorf("cause is %v, want ErrLost", cause)
		}
	})
}

// Err looks at the clock itself: it is right before the goroutine that ends
// Contexts has run, as in a process that was paused and goes on.
func TestHazard_G2e_ErrLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := locker.New(memory.New(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		lease, err := client.Lock(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		backend.Suspend(lease.Deadline().Sub(backend.Now()) - time.Millisecond)
		if err := lease.Err(); err != nil {
			t.Fatalf("before the deadline: %v", err)
		}
		backend.Suspend(time.Millisecond)
		if lease.Context().Err() != nil {
			t.Fatal("the test is wrong: the Context has ended")
		}
		if err := lease.Err(); !errors.Is(err, locker.ErrLost) {
			t.Errorf("Err is %v, want ErrLost", err)
		}
		if lease.Context().Err() == nil {
			t.Error("Err does not end the Context")
		}
	})
}
