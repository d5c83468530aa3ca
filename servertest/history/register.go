// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import "fmt"

// Register finds updates that a register lost although it checks tokens: one
// that was computed from another value than the one it replaced.
func Register(h *History, _ Promise) []Verdict { return lostUpdates(h, Write) }

// PlainLosses finds the same in the register that checks nothing. Where clients
// are paused there must be some, else a run has no teeth.
func PlainLosses(h *History) []Verdict { return lostUpdates(h, PlainWrite) }

func lostUpdates(h *History, f F) (found []Verdict) {
	current := map[string]Event{}
	for _, e := range h.Events { // the register's own order: it stamps its events
		if e.F != f || e.Type != OK {
			continue
		}
		if now := current[e.Key]; e.Prev != now.Value {
			found = append(found, Verdict{Key: e.Key, From: now.Time, To: e.Time, Text: fmt.Sprintf(
				"lost update: %s (op %d, token %d) wrote %s over %s, of %s (op %d, token %d), but had computed it from %q",
				e.Client, e.Op, e.Token, e.Value, now.Value, now.Client, now.Op, now.Token, e.Prev)})
		}
		current[e.Key] = e
	}
	return found
}
