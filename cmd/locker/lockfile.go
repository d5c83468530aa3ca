// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/file"
)

// A lockFiles is a file backend that remembers what it granted last, so that
// the guardian can have a copy of the lock file.
type lockFiles struct {
	*file.Backend
	granted atomic.Pointer[backend.Grant]
}

// Lock remembers the grant.
func (l *lockFiles) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	g, err := l.Backend.Lock(ctx, req)
	if err == nil {
		l.granted.Store(g)
	}
	return g, err
}

// held returns the lock file that is held, nil if the lock is not a file.
func (l *lockFiles) held() *os.File {
	if l == nil {
		return nil
	}
	g := l.granted.Load()
	if g == nil {
		return nil
	}
	return l.File(g)
}
