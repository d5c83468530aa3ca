// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package locker takes distributed locks, whatever keeps them. The backend is
// picked by a URL, so that an application changes it without touching code:
//
//	client, err := locker.Open(ctx, "file:///var/lib/app/locks?ttl=15s", nil)
//
// Import the adapter of each scheme in use, or backend/all for every one.
//
// # Leases
//
// Lock returns a [Lease]: the proof of a lock, with a fencing token, a deadline
// and a context. The [Client] renews it until Unlock. Its Context ends before
// the store may give the lock to another, without hearing from the store: when
// a renewal hangs, when packets vanish, when the session is told dead. Run what
// the lock protects under it; [Do] does that.
//
// The time to live (TTL) belongs to the Client: Config.TTL or the URL's ttl,
// of which the URL's wins. It is how long a dead holder keeps others out.
//
// # What is not promised
//
// The deadline is a promise about the rate of clocks, not about clocks that
// agree: local time may run slower than the store's by a twentieth. A process
// that is paused past its deadline cannot notice until it runs again; what it
// then sends to a resource is late. That is what [Lease.Token] is for: a
// resource that remembers the largest token it has seen refuses an old holder.
// Locks are not re-entrant, and a call locks one name.
package locker
