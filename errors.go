// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/golocker/locker/backend"
)

var (
	// ErrLocked says that another holds the lock, by the store's own word.
	ErrLocked = backend.ErrLocked

	// ErrLost says that a lease ended without Unlock.
	ErrLost = backend.ErrLost

	// ErrUnlocked says that a lease ended by Unlock, or by Close.
	ErrUnlocked = errors.New("lock unlocked")

	// ErrClosed says that the Client was closed.
	ErrClosed = errors.New("client closed")
)

// An Error says which operation on which lock failed, and why.
type Error struct {
	Op      string // open, lock, renew, unlock, hold (the end of a lease), inspect, close
	Backend string // the backend's name, or the scheme of a URL
	Name    string // the lock's name; empty for open and close
	Err     error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("locker: " + e.Op)
	if e.Name != "" {
		fmt.Fprintf(&b, " %q", e.Name)
	}
	if e.Backend != "" {
		b.WriteString(" on " + e.Backend)
	}
	b.WriteString(": " + e.Err.Error())
	return b.String()
}

// Unwrap returns e.Err.
func (e *Error) Unwrap() error { return e.Err }

// oneLine joins errors as errors.Join does, on one line. It drops nil ones and
// those which an earlier one already Is.
func oneLine(errs ...error) error {
	var kept lineError
	for _, err := range errs {
		if err != nil && !errors.Is(kept, err) {
			kept = append(kept, err)
		}
	}
	switch len(kept) {
	case 0:
		return nil
	case 1:
		return kept[0]
	}
	return kept
}

type lineError []error

func (l lineError) Error() string {
	texts := make([]string, len(l))
	for i, err := range l {
		texts[i] = err.Error()
	}
	return strings.Join(texts, ": ")
}

func (l lineError) Unwrap() []error { return l }

// ended is the error of a wait whose context ended: it Is both the context's
// error and its cause, ErrLocked if the store had said so, and err.
func ended(ctx context.Context, locked bool, err error) error {
	var said error
	if locked {
		said = ErrLocked
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil // the adapter's echo of the same end
	}
	cause := context.Cause(ctx)
	if cause == ErrClosed { //nolint:errorlint // this client's: the user's own cause may wrap that of another
		return oneLine(ErrClosed, err)
	}
	return oneLine(said, cause, ctx.Err(), err)
}
