// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Options are what the [Option] values of one Lock add up to. Those who
// implement [Locker] read them with [MakeOptions].
type Options struct {
	MaxWait time.Duration // longest wait; zero: as long as ctx lasts
	NoWait  bool          // fail at once if another holds the lock
	NoRenew bool          // renewed by the user only
	Note    string        // for those who look who holds the lock
}

// An Option changes one Lock.
type Option func(*Options)

// MakeOptions applies opts in order.
func MakeOptions(opts ...Option) Options {
	var o Options
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// MaxWait bounds the wait. When it passes, the error Is
// context.DeadlineExceeded, and ErrLocked if the store had said that another
// holds the lock. MaxWait(0), or less, is [NoWait].
func MaxWait(d time.Duration) Option {
	return func(o *Options) { o.MaxWait, o.NoWait = max(d, 0), d <= 0 }
}

// NoWait makes Lock fail with ErrLocked if another holds the lock.
func NoWait() Option { return func(o *Options) { o.NoWait = true } }

// NoRenew makes the lease end one TTL after the acquisition, or after the last
// Renew by the user, with ErrLost.
func NoRenew() Option { return func(o *Options) { o.NoRenew = true } }

// Note tells those who look who holds the lock: UTF-8, up to 1024 bytes, never
// a secret.
func Note(text string) Option { return func(o *Options) { o.Note = text } }

const (
	maxName = 512
	maxNote = 1024
)

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a lock must not be empty")
	case len(name) > maxName:
		return fmt.Errorf("the name of a lock is at most %d bytes long, not %d", maxName, len(name))
	case !utf8.ValidString(name):
		return errors.New("the name of a lock must be valid UTF-8")
	}
	return nil
}

func (o Options) check() error {
	if len(o.Note) > maxNote || !utf8.ValidString(o.Note) {
		return fmt.Errorf("a note is valid UTF-8 of at most %d bytes", maxNote)
	}
	return nil
}
