// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

const (
	// poll is how often the Client tries again. A try is three system calls.
	poll = 25 * time.Millisecond

	// reclaim is a poll with its jitter, and the sync of the token on a slow
	// disk. The kernel frees the lock of a dead process at once.
	reclaim = 250 * time.Millisecond
)

var errClosed = errors.New("the backend is closed")

// A Backend takes locks in one directory. It is safe for concurrent use.
type Backend struct {
	dir string

	mu     sync.Mutex
	closed bool
	holds  map[string]*hold // by the grant's owner
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// New returns a Backend for the lock files in dir, which must be absolute: two
// processes with different working directories must mean the same one. It does
// no I/O; the first Lock creates dir if it is missing.
func New(dir string) (*Backend, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("the directory of the lock files must be an absolute path, not %q", dir)
	}
	return &Backend{dir: filepath.Clean(dir), holds: map[string]*hold{}}, nil
}

// Info describes the backend. The bounds of the TTL are wide because it only
// sets how often Renew looks after the lock file.
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name:    "file",
		Fencing: true,
		MinTTL:  100 * time.Millisecond,
		MaxTTL:  24 * time.Hour,
		Poll:    poll,
		Reclaim: func(time.Duration) time.Duration { return reclaim },
	}
}

// Path returns the path of the lock file of a name, for those who lock it with
// flock(1).
func (b *Backend) Path(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(b.dir, hex.EncodeToString(sum[:])+".lock")
}

// Lock tries once. It never waits: if another holds the lock it returns
// backend.ErrLocked, whatever req.NoWait says. After an error nothing is held.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	h, err := b.acquire(b.Path(req.Name))
	if err != nil {
		return nil, err
	}
	token, err := h.writeGrant(req.Name, req.Note)
	if err == nil {
		err = b.keep(req.Owner, h)
	}
	if err != nil {
		return nil, errors.Join(err, h.release())
	}
	return &backend.Grant{Request: req, Token: token, Group: b.dir}, nil
}

// Renew looks whether the lock files are still those that were locked. It
// extends nothing, since nothing expires.
func (b *Backend) Renew(_ context.Context, grants []*backend.Grant) []backend.Renewal {
	renewals := make([]backend.Renewal, len(grants))
	for i, g := range grants {
		if h := b.find(g.Owner); h == nil {
			renewals[i].Err = backend.ErrLost
		} else {
			renewals[i].Err = h.check()
		}
	}
	return renewals
}

// Unlock releases g. The lock file stays.
func (b *Backend) Unlock(_ context.Context, g *backend.Grant) error {
	h := b.take(g.Owner)
	if h == nil {
		return backend.ErrLost
	}
	state := h.check()
	if err := h.release(); err != nil {
		return err
	}
	return state
}

// Withdraw releases what g may hold. A Lock that failed holds nothing.
func (b *Backend) Withdraw(_ context.Context, g *backend.Grant) error {
	if h := b.take(g.Owner); h != nil {
		return h.release()
	}
	return nil
}

// Close releases everything that is held.
func (b *Backend) Close() error {
	b.mu.Lock()
	holds := b.holds
	b.holds, b.closed = nil, true
	b.mu.Unlock()

	var errs []error
	for _, h := range holds {
		errs = append(errs, h.release())
	}
	return errors.Join(errs...)
}

// File returns the open lock file of g, or nil if g is not held. A child that
// gets it (exec.Cmd.ExtraFiles) keeps the lock when this process dies, until it
// ends too or releases with LOCK_UN; Unlock here frees the lock all the same.
// The Backend closes the file; do not write to it.
func (b *Backend) File(g *backend.Grant) *os.File {
	if h := b.find(g.Owner); h != nil {
		return h.file
	}
	return nil
}

func (b *Backend) keep(owner string, h *hold) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed
	}
	b.holds[owner] = h
	return nil
}

func (b *Backend) find(owner string) *hold {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holds[owner]
}

func (b *Backend) take(owner string) *hold {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.holds[owner]
	delete(b.holds, owner)
	return h
}
