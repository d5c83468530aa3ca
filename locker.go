// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import "context"

// A Locker locks names. A [Client] is one; so is a wrapper that adds tracing,
// or a fake. A wrapper has a method Unwrap() Locker, so that [Inspect] finds
// what it wraps; it sees the calls below, but not the renewals, withdrawals and
// the Close that a Client does by itself: wrap the backend to see those.
type Locker interface {
	// Lock waits until it holds name, or ctx ends, and returns the lease.
	// ctx bounds the waiting, never the hold: the lease outlives it. A ctx
	// that has ended already is an error even when the lock is free.
	//
	// The error Is [ErrLocked] if the store said that another holds the
	// lock, both ctx.Err() and context.Cause(ctx) if ctx ended, and
	// [ErrClosed] after Close; anything else has the driver's error in its
	// chain. After an error nothing of the call stays in the store: what the
	// store did not acknowledge is withdrawn in the background.
	Lock(ctx context.Context, name string, opts ...Option) (*Lease, error)

	// Renew extends the lease now, with an exchange that begins after the
	// call. A Client renews by itself; Renew is for leases taken with
	// [NoRenew], and for those who want to be sure right now. The error Is
	// [ErrLost] if the lease is gone: it is never brought back. After any
	// other error it is not known whether the store renewed.
	Renew(ctx context.Context, lease *Lease) error

	// Unlock ends the lease's Context, then releases the lock. It makes its
	// attempt even if ctx has ended, within a few seconds, so that a
	// deferred Unlock works after a cancellation. After any result the lease
	// is over and no longer renewed, and what the store did not acknowledge
	// is withdrawn in the background.
	//
	// The error Is [ErrLost] if the lease was lost before, and [ErrUnlocked]
	// if it was unlocked before.
	Unlock(ctx context.Context, lease *Lease) error
}
