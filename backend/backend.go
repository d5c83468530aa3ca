// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrLocked says that another holds the lock. Only a store's own word
	// produces it.
	ErrLocked = errors.New("held by another")

	// ErrLost says that a grant is surely gone, or that the session of a
	// waiter ended.
	ErrLost = errors.New("lock lost")

	// ErrUnavailable says that the store did not answer. An adapter wraps it
	// together with the driver's error.
	ErrUnavailable = errors.New("store unavailable")
)

// A Backend takes locks in one store. Its methods are safe for concurrent use.
//
// Every method returns soon after its context ends; Lock within [Linger] of
// it. None calls a function of a Request while it holds a lock of its own.
type Backend interface {
	// Info describes the backend. It is static and does no I/O.
	Info() Info

	// Lock returns once the lock is granted. ctx bounds the waiting, never
	// the hold. It returns (g, nil) when granted; (nil, err) when surely
	// nothing of the request is or will be in the store; (g, err) when
	// perhaps something is, with what Withdraw needs in g.Sys.
	//
	// With req.NoWait, or where Info.Poll is set, it returns ErrLocked when
	// another holds the lock, and leaves nothing queued.
	Lock(ctx context.Context, req Request) (*Grant, error)

	// Renew extends the grants, all of one Group, in as few exchanges as the
	// store allows: one batch, or pipelined in one write, so that requests do
	// not grow with the grants; result i is that of grant i. A Renewal.Err that wraps
	// ErrLost means surely gone; any other means that it is not known. Renew
	// never brings back a grant that has expired.
	Renew(ctx context.Context, grants []*Grant) []Renewal

	// Unlock releases g and nothing but g, in one attempt. It returns ErrLost
	// if g is gone already, even if an earlier attempt was not answered: the
	// Client tries again and decides. Any other error means that it is not
	// known.
	Unlock(ctx context.Context, g *Grant) error

	// Withdraw undoes what ended without the store's word. After nil nothing
	// of g.Owner is, or will ever be, granted or queued, though its request
	// may still be on its way, or the session it hung on is surely dead.
	// It is idempotent.
	Withdraw(ctx context.Context, g *Grant) error

	// Close ends sessions and connections of the backend's own, within a few
	// seconds. A client that the application passed in stays open.
	Close() error
}

// A Request is one call of [Backend.Lock].
type Request struct {
	Name  string        // valid UTF-8, 1 to 512 bytes
	Owner string        // unguessable, printable ASCII, one per call of Lock
	Note  string        // for those who look who holds the lock; up to 1024 bytes, never a secret
	TTL   time.Duration // within Info.MinTTL and Info.MaxTTL

	// NoWait: answer ErrLocked rather than wait.
	NoWait bool

	// Queued is called once, when the store has said that another holds the
	// lock and Lock waits. It may be nil and never blocks.
	Queued func()

	// Lost is called when the store says that the grant is gone: at most
	// once, from any goroutine, perhaps before Lock has returned. It may be
	// nil and never blocks. It is not called for the adapter's own deletes.
	Lost func(error)
}

// A Grant is the backend's proof that a request holds, or may hold, the lock.
// The Client never changes one that Lock returned.
type Grant struct {
	Request // TTL may be overwritten with the effective one

	// Token is the fencing token: for one name, a later grant has a larger
	// one. Zero where Info.Fencing is false.
	Token int64

	// Until is the time, on the clock of [Now], up to which the store surely
	// keeps the grant unless it is renewed: the send time of the last
	// acknowledged exchange that extends what the store will expire, plus
	// the TTL. Zero: it never expires.
	Until time.Time

	// Group is a comparable value that names the session or node which
	// renews the grant.
	Group any

	// Sys is the adapter's own.
	Sys any
}

// A Renewal is the result of renewing one grant.
type Renewal struct {
	// Until is the new [Grant.Until]. Zero stands for the start of the call
	// plus the TTL; a grant that never expires goes on so.
	Until time.Time

	// Err is nil if the grant was renewed; it wraps ErrLost if it is surely
	// gone; any other error means that it is not known.
	Err error
}

// Info describes what a backend gives.
type Info struct {
	Name    string // for people and logs, such as "redis"
	Fencing bool   // grants carry growing tokens
	Fair    bool   // waiters are served in the order in which the store queued them

	// MinTTL and MaxTTL bound Request.TTL, both inclusive.
	MinTTL, MaxTTL time.Duration

	// Poll, if positive, is the interval at which the Client tries again,
	// because the store cannot wake a waiter. A backend with Poll is not Fair.
	Poll time.Duration

	// Reclaim returns the longest time from a holder's death to the next
	// grant, for a TTL.
	Reclaim func(ttl time.Duration) time.Duration
}

// CheckTTL returns an error that names the bounds if ttl is outside them.
func (i Info) CheckTTL(ttl time.Duration) error {
	if ttl < i.MinTTL || ttl > i.MaxTTL {
		return fmt.Errorf("ttl %v is out of range for %s: from %v to %v", ttl, i.Name, i.MinTTL, i.MaxTTL)
	}
	return nil
}

// State is who holds a lock, as far as a store can tell.
type State struct {
	Held    bool      // somebody holds it
	Note    string    // the holder's note
	Token   int64     // the holder's fencing token
	Since   time.Time // when the holder got it, on the store's clock; zero if the store cannot tell
	Waiters int       // how many wait; -1 if the store cannot tell
}

// An Inspector is a Backend that can tell who holds a lock.
type Inspector interface {
	Inspect(ctx context.Context, name string) (State, error)
}

// As returns the first T in the chain of b and what its Unwrap methods
// (Unwrap() Backend) return. Wrappers thereby keep the optional features of
// what they wrap.
func As[T any](b Backend) (T, bool) {
	for b != nil {
		if t, ok := b.(T); ok {
			return t, true
		}
		w, ok := b.(interface{ Unwrap() Backend })
		if !ok {
			break
		}
		b = w.Unwrap()
	}
	var zero T
	return zero, false
}
