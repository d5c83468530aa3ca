// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package history records what the clients of a lock did, and judges it.
//
// A [Recorder] writes one line of JSON for each [Event], at the start and at the
// end of every call, on a clock that all processes of the machine share. A
// process may be killed between any two bytes: [Read] leaves a torn last line
// out. [New] puts the events of all processes in order, and the checkers are
// functions of the result:
//
//	Overlap   G1: no two clients believe in a lease of one lock at one time
//	Tokens    G3: each grant has a larger token than those before it
//	Model     G1, G7, G8, G9: some order of the calls explains every answer
//	Register  G3: a resource that checks tokens loses no update
//	Loss      G2: no lease promises too much, and its end is told in time
//	Liveness  G5: nobody waits for a lock that nobody has
//	Order     G4: who was queued first is served first
//
// A machine that stands still makes late what is on time. [Verdict.Void] says
// that such a stall explains a violation of Loss or Liveness: run again, up to
// three times. It never excuses a violation of the others.
package history

import "time"

// F is what an event is about.
type F string

// The calls of clients have a start and an end, unless their process dies.
const (
	Lock   F = "lock"
	Renew  F = "renew"
	Unlock F = "unlock"

	Queued F = "queued" // the store has said that another holds the lock, and Lock waits
	Look   F = "look"   // the client has looked at its lease, and believes in it
	Lost   F = "lost"   // the lease's context has ended, other than by Unlock

	Write      F = "write"       // to a register that checks tokens
	PlainWrite F = "plain-write" // to its twin, which does not
)

// What the runner does and sees has a start and an end as well.
const (
	Kill  F = "kill"  // of a client: from before the signal to its death
	Pause F = "pause" // of a client: from before SIGSTOP to after SIGCONT
	Fault F = "fault" // Class names it; of one client, or of the server if Client is empty
	Stall F = "stall" // the machine stood still
)

// Type says what an event tells of a call.
type Type string

// The types of events.
const (
	Invoke Type = "invoke" // it begins
	OK     Type = "ok"     // it did what it says
	Fail   Type = "fail"   // it surely did not
	Info   Type = "info"   // not known
)

// The classes of errors.
const (
	Locked      = "locked"      // held by another, by the store's word
	Grace       = "grace"       // locked, because the server was restarted a moment ago
	Gone        = "lost"        // the lease or the session is gone
	Cancelled   = "cancelled"   // the caller's context ended, or MaxWait passed
	Unavailable = "unavailable" // no answer
	Other       = "other"       // a refusal
)

// Forever is an instant that never comes.
const Forever = time.Duration(1<<63 - 1)

// An Event is one line of a history. Instants are on the clock of [Now].
type Event struct {
	Seq         int64         `json:"seq"`                   // place in the recorder's file, from 1
	Time        time.Duration `json:"t_mono"`                // when
	Op          int64         `json:"op,omitempty"`          // the same for all events of one Lock and its lease, or of one fault
	Client      string        `json:"client,omitempty"`      // the process
	Incarnation int           `json:"incarnation,omitempty"` // of the process: another one after each kill
	Key         string        `json:"key,omitempty"`         // the lock's name
	F           F             `json:"f"`
	Type        Type          `json:"type"`
	Token       int64         `json:"token,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"`         // of the client
	ValidUntil  time.Duration `json:"valid_until,omitempty"` // the lease's deadline; Forever if it has none
	Class       string        `json:"error_class,omitempty"` // of an error; of a fault
	Text        string        `json:"text,omitempty"`        // the error, for people
	NoRenew     bool          `json:"no_renew,omitempty"`    // of a Lock: only its client's calls renew the lease
	Prev        string        `json:"prev,omitempty"`        // of a write: the value it was computed from
	Value       string        `json:"value,omitempty"`       // of a write
	Seed        uint64        `json:"seed,omitempty"`        // of the run
}
