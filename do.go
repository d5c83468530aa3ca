// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"errors"

	"github.com/golocker/locker/backend"
)

// Do runs fn while it holds name, and unlocks afterwards, on a panic too. fn's
// context ends with ctx or with the lease, whichever is first.
//
// If the lease ended before fn returned, other than by fn's own Unlock, the
// error Is lease.Err() even if fn returned nil, joined with fn's own error: what
// fn did may not have been guarded to its end. So it is if Unlock finds the lock
// gone. Any other error of Unlock is not returned: fn's work was guarded, and
// the Client withdraws the lock.
func Do(ctx context.Context, l Locker, name string, fn func(ctx context.Context, lease *Lease) error, opts ...Option) (err error) {
	lease, err := l.Lock(ctx, name, opts...)
	if err != nil {
		return err
	}
	var lost error
	defer func() {
		if unlockErr := l.Unlock(ctx, lease); lost == nil && errors.Is(unlockErr, ErrLost) {
			lost = unlockErr
		}
		err = oneLine(err, lost)
	}()
	guarded, cancel := lease.Guard(ctx)
	defer cancel()
	err = fn(guarded, lease)
	if ended := lease.Err(); ended != nil && (!errors.Is(ended, ErrUnlocked) || errors.Is(ended, ErrClosed)) {
		lost = ended
	}
	return err
}

// TryLock locks name if nobody holds it: ok says whether it did. It adds
// [NoWait] unless opts have a [MaxWait]. An error is one other than ErrLocked.
func TryLock(ctx context.Context, l Locker, name string, opts ...Option) (lease *Lease, ok bool, err error) {
	if MakeOptions(opts...).MaxWait == 0 {
		opts = append(opts[:len(opts):len(opts)], NoWait())
	}
	lease, err = l.Lock(ctx, name, opts...)
	if errors.Is(err, ErrLocked) && ctx.Err() == nil {
		return nil, false, nil
	}
	return lease, err == nil, err
}

// Inspect tells who holds name. It walks the Unwrap methods of l; the error Is
// errors.ErrUnsupported where nothing it finds can tell.
func Inspect(ctx context.Context, l Locker, name string) (backend.State, error) {
	for l != nil {
		switch v := l.(type) {
		case *Client:
			return v.inspect(ctx, name)
		case backend.Inspector:
			return v.Inspect(ctx, name)
		case interface{ Unwrap() Locker }:
			l = v.Unwrap()
		default:
			l = nil
		}
	}
	return backend.State{}, &Error{Op: "inspect", Name: name, Err: errors.ErrUnsupported}
}
