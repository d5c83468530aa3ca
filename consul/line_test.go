// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

func join(t *testing.T, l *lines, name string, token int64) *place {
	t.Helper()
	p, err := l.join(name, token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mine says whether it is the waiter's turn.
func mine(p *place) bool {
	turn, _ := p.first(context.Background())
	return turn != nil
}

// A line is in the order of the tokens, whatever that of the joins.
func TestLineOrder(t *testing.T) {
	l := newLines(5)
	places := map[int64]*place{}
	for _, token := range []int64{30, 50, 10, 40, 20} {
		places[token] = join(t, &l, "n", token)
	}
	for _, token := range []int64{10, 20, 30, 40, 50} {
		for other, p := range places {
			if mine(p) != (other == token) {
				t.Fatalf("it is the turn of %d: %t, when that of %d should be", other, mine(p), token)
			}
		}
		places[token].leave()
		delete(places, token)
	}
	if len(l.of) != 0 {
		t.Errorf("left: %v", l.of)
	}
}

// A waiter gets its turn when the one before it leaves, and loses it when one
// comes that Consul queued before; others are not woken.
func TestLineTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLines(1)
		first, last := join(t, &l, "n", 20), join(t, &l, "n", 30)
		ctx, cancel := context.WithCancelCause(t.Context())
		turn, err := first.turn(ctx)
		if err != nil || turn.Err() != nil {
			t.Fatal(err)
		}
		var got context.Context
		done := make(chan error, 1)
		go func() { got, err = last.turn(ctx); done <- err }()
		synctest.Wait()

		earlier := join(t, &l, "n", 10)
		if turn.Err() == nil || mine(first) || !mine(earlier) {
			t.Error("one who is before the first does not take its turn")
		}
		earlier.leave()
		if turn, err = first.turn(ctx); err != nil || turn.Err() != nil {
			t.Errorf("the turn does not come back: %v", err)
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("the last was woken before its turn")
		}
		first.leave()
		if err := <-done; err != nil || got.Err() != nil || turn.Err() == nil {
			t.Errorf("the last one's turn: %v; the end of the one before: %v", err, turn.Err())
		}

		behind := join(t, &l, "n", 40)
		reason := errors.New("it gave up")
		go func() { _, err := behind.turn(ctx); done <- err }()
		synctest.Wait()
		cancel(reason)
		if err := <-done; !errors.Is(err, reason) || got.Err() == nil {
			t.Errorf("the end of ctx: %v, and of the first's turn: %v", err, got.Err())
		}
	})
}

// The number of lines is bounded, not that of those who stand in one.
func TestLineCap(t *testing.T) {
	l := newLines(2)
	a, _ := join(t, &l, "a", 1), join(t, &l, "b", 2)
	join(t, &l, "b", 3)
	if _, err := l.join("c", 4); err == nil || !strings.Contains(err.Error(), "2 locks are waited for") || !strings.Contains(err.Error(), "max_waiting") {
		t.Errorf("a third lock: %v", err)
	}
	a.leave()
	join(t, &l, "c", 5)
}
