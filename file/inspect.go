// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/golocker/locker/backend"
)

// Inspect tells who holds the lock. It takes no lock, not even for a moment,
// and creates nothing: a contender that tries in between is not told that
// another holds the lock. Waiters is -1, since they are not known.
func (b *Backend) Inspect(_ context.Context, name string) (backend.State, error) {
	state := backend.State{Waiters: -1}
	path := b.Path(name)
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, fmt.Errorf("lock file: %w", err)
	}
	defer func() { _ = f.Close() }()

	if state.Held, err = marked(f); err != nil {
		return state, fmt.Errorf("ask who holds %s: %w", path, err)
	}
	if !state.Held {
		return state, nil
	}
	r, err := readRecord(f)
	if err != nil {
		return state, fmt.Errorf("lock file %s: %w", path, err)
	}
	state.Token, state.Note, state.Since = r.last(), r.grant.Note, r.grant.Since
	return state, nil
}
