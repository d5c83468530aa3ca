// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A Harness says how the suite reaches a backend and its store. Open is
// required; every other field may be absent.
type Harness struct {
	// Name is that of the report: Info.Name if empty.
	Name string

	// Open returns a client of the store as another process has it: with
	// connections of its own. The suite closes its Backend; what else Open
	// makes ends with t.Cleanup.
	Open func(t testing.TB) Client

	// TTL is that of all checks: the larger of 2 s and Info.MinTTL if zero.
	TTL time.Duration

	// Parallel bounds how many checks run at once: 64 if zero.
	Parallel int

	// URL opens the same store with locker.Open in another process. The test
	// binary imports the adapter, and its TestMain calls [Child].
	URL string

	// Break ends what the store keeps for the holder of a lock, as an
	// administrator would: deletes its key, or ends its session.
	Break func(t testing.TB, name string)

	// Leftovers lists what the store still keeps for a lock: keys, queue
	// entries, sessions. It leaves out what is documented to stay, such as
	// a fence counter.
	Leftovers func(ctx context.Context, name string) ([]string, error)

	// Refusals try to lock with something wrong, such as a password or a
	// certificate, and return the error.
	Refusals map[string]func(ctx context.Context) error

	// Secrets are texts that must not show in any error or log line.
	Secrets []string

	// NewServer starts a server that nobody else uses, for faults of a
	// whole server.
	NewServer func(t testing.TB) Server
}

// A Client is a backend and, if the harness can break it, its connection.
type Client struct {
	Backend backend.Backend
	Link    Link // nil if there is none
}

// A Link is all that lies between one Client and the store, such as a proxy of
// its own. Its methods are safe for concurrent use.
type Link interface {
	// Inject makes f the state of the link, for connections that are open
	// and for new ones, until the next call. It returns false if the link
	// cannot do f: the check is then skipped.
	Inject(f Fault) bool

	// Delay makes every reply and push take d longer from now on.
	Delay(d time.Duration)

	// Sever cuts every connection that is open, as a reset does. New ones
	// may be made.
	Sever()

	// Requests counts what the client has sent: one for each time that it
	// wrote to a connection, so that a pipelined batch counts as one.
	Requests() int

	// Connections counts those that are open.
	Connections() int
}

// A Fault is what happens to what passes a [Link].
type Fault int

const (
	// None lets everything pass. Connections of which a fault before it has
	// swallowed something are cut.
	None Fault = iota

	// DropRequests swallows what the client sends. Connections stay open.
	DropRequests

	// DropReplies lets requests reach the store and swallows what the store
	// sends.
	DropReplies

	// BlackHole swallows both.
	BlackHole

	// HoldRequests keeps what the client sends until the next Inject, which
	// delivers it to the store even if the client has gone. A Sever in
	// between cuts the client's side only; what it sends over connections
	// made after that passes. So a request arrives after its own clean-up.
	HoldRequests

	// Refuse cuts every connection and refuses new ones.
	Refuse
)

// A Server is one that the suite may break. Each function may be nil.
type Server struct {
	Open    func(t testing.TB) Client // as Harness.Open
	Pause   func() (resume func())    // stops the server in its tracks
	Restart func()                    // kills it and starts it again with its data, at the same address
	Wipe    func()                    // kills it and starts it again without its data
}
