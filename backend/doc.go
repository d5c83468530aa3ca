// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package backend is the service-provider interface of locker: what an adapter
// for one store implements, and the registry that finds it by the scheme of a
// URL. It imports nothing but the standard library. Applications use package
// locker; this text is the manual for those who write an adapter.
//
// # Who does what
//
// An adapter holds its store's recipe and nothing else. The portable Client of
// package locker does, once for all stores: names, owner secrets, defaults,
// deadlines with their margin, renewal of everything that is held, the news of
// a loss, withdrawal with back-off, polling where a store cannot wake a waiter,
// bounded Unlock, Close, the wrapping of errors, logging.
//
// # Lock and its three ends
//
// The Client runs each Backend.Lock in a goroutine of its own and answers its
// caller at once when the caller's context ends; the late answer of Lock is
// then cleaned up in the background. So Lock has three ends, and each says what
// is in the store:
//
//	(g, nil)   granted
//	(nil, err) surely nothing of this request is, or ever will be, in the store
//	(g, err)   perhaps something; g carries in Sys what Withdraw needs
//
// The context bounds the waiting. Exchanges with the store use
// [LingerContext], which outlives it by [Linger], so that an answer which is
// already on its way is not thrown away.
//
// A request is one call of Lock with an Owner of its own. Every further try,
// after a lost session, a grant that came too late, or by a poller, is a new
// request with a new Owner. A request that meets its own tombstone returns
// (nil, ErrLost).
//
// # Errors
//
//   - [ErrLocked]: the store said that another holds the lock (NoWait only).
//   - [ErrLost]: the grant, or the session of a waiter, is surely gone. A Lock
//     that returns it is tried again by the Client while its context lasts.
//   - [ErrUnavailable]: the store did not answer. Wrap it, together with the
//     driver's error, around refused connections, time-outs and the absence of
//     a leader: a waiter that was queued before outlives these.
//   - anything else is a refusal by the store (credentials, rights, a full
//     disk) and ends the call. Keep the driver's error in the chain; never put
//     a password, an Owner or a raw URL into a text.
//
// The Client adds the operation, the backend's name and the lock's name; an
// adapter need not.
//
// # Withdraw
//
// What ended without the store's word (a failed Lock, a failed Unlock, a local
// loss) the Client withdraws: at once, then with back-off, until Withdraw
// returns nil. After nil nothing of the Owner is, or ever will be, granted or
// queued, even if its request is still on its way to the store: a request whose
// fate is unknown must be fenced, for instance by a tombstone of its Owner that
// the enqueueing transaction compares. It stands for as long as a request may
// be on its way: with the session it hangs on, or a minute. An adapter keeps no list of unanswered
// calls and runs no cleaner of its own.
//
// # Deadlines
//
// Grant.Until is the send time (read with [Now] before sending) of the last
// acknowledged exchange that extends what the store will expire, plus the TTL.
// In a store with sessions a grant does not extend the session: it carries its
// session's deadline. A session whose deadline (less [Margin]) has passed
// locally is dead: it is never renewed again, and destroyed as soon as it can
// be.
//
// # Renewal
//
// The Client calls Renew for all grants of one Group that are due, with at most
// one call in flight per Group. Renew always makes an exchange that begins
// after the call began. A keep-alive loop for a session, from its first byte to
// its end, is the adapter's own; an exchange made by Renew resets its timer.
//
// # Waking
//
// Lock calls Request.Queued once, when the store has said that another holds
// the lock and Lock waits. Waiters are woken by a push. A store that cannot
// push sets Info.Poll: Lock then always sees NoWait, and the Client tries again
// with jitter, one poller per name.
//
// # Names
//
// [Escape] maps any name to printable ASCII without separators; use it for all
// keys and paths, so that different names never share a key and nothing
// escapes the prefix.
//
// # Proof
//
// Package conformance tests all of this against an adapter; about 25 lines wire
// it up. CONTRIBUTING.md says how to add a backend, step by step.
package backend
