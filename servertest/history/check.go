// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"time"

	"github.com/golocker/locker/backend"
)

// A Promise is what the clients of a history may rely on.
type Promise struct {
	Fencing bool          // grants carry growing tokens
	Fair    bool          // waiters are served in the order in which the store queued them
	Alone   bool          // Fair counts one waiter for each client: its others stand behind that one
	TTL     time.Duration // of the leases; zero: they do not expire
	Reclaim time.Duration // longest time from a holder's death to the next grant
	Slack   time.Duration // what else may delay a grant: round trips, a pause between two tries

	// Entry is how long after Queued a call may not stand in the store's queue yet,
	// where the store does not say when it does.
	Entry time.Duration

	// Grace says that for a TTL after a restart of the server nobody is granted a
	// lock, and the store queues nobody.
	Grace bool

	// InPassing says that a call which must not wait stands in the queue for a
	// moment, where another one may find it.
	InPassing bool

	// Hearing is how long a holder may take to hear that its connection was ended,
	// where the lock ends with that in the store; zero: it does not.
	Hearing time.Duration

	// Recovery is how long after a fault of the server, or of a client's own
	// network, waiting goes on as if it lasted; 2 × Reclaim if zero.
	Recovery time.Duration
}

func (p Promise) recovery() time.Duration {
	if p.Recovery == 0 {
		return 2 * p.Reclaim
	}
	return p.Recovery
}

func (p Promise) margin() time.Duration { return backend.Margin(p.TTL) }

// A Verdict is a violation that a checker found.
type Verdict struct {
	Checker string        `json:"checker"`
	Key     string        `json:"key,omitempty"`
	Text    string        `json:"text"` // for people
	From    time.Duration `json:"from"` // when it happened
	To      time.Duration `json:"to"`
	Void    bool          `json:"void,omitempty"`   // the machine stood still meanwhile, and this is about lateness
	Undone  bool          `json:"undone,omitempty"` // not a violation: the checker could not decide
}

func (v Verdict) String() string {
	text := fmt.Sprintf("%s: lock %q, %v to %v: %s", v.Checker, v.Key, v.From, v.To, v.Text)
	switch {
	case v.Void:
		text += " (void: the machine stood still)"
	case v.Undone:
		text += " (not decided)"
	}
	return text
}

// A Checker judges a history. It returns nothing if there is nothing wrong.
type Checker struct {
	Name      string
	Guarantee string // what a verdict breaks
	Text      string // for the documents: what it looks for
	Check     func(*History, Promise) []Verdict
}

// Checkers are all of them.
var Checkers = []Checker{
	{"overlap", "G1", "two clients that believe in a lease of one lock at one time", Overlap},
	{"tokens", "G3", "a token that comes twice, or that is smaller than one of an earlier grant", Tokens},
	{"model", "G1", "answers that no order of the calls explains, for a lock with one owner at a time (with porcupine)", Model},
	{"register", "G3", "an update that is lost by a resource which checks tokens", Register},
	{"loss", "G2", "a lease that promises more than the store has, or whose end is told late", Loss},
	{"liveness", "G5", "a Lock that waits although nobody has the lock and nothing is broken", Liveness},
	{"order", "G4", "a waiter that is served before one whom the store had queued earlier", Order},
}

// Check returns the verdicts of all checkers.
func Check(h *History, p Promise) (all []Verdict) {
	for _, c := range Checkers {
		for _, v := range c.Check(h, p) {
			v.Checker = c.Name
			all = append(all, v)
		}
	}
	return all
}
