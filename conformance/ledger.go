// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"sync"
	"time"

	"github.com/golocker/locker"
)

// A ledger records who holds one lock, in the order in which Lock returned.
type ledger struct {
	*application
	mu     sync.Mutex
	holder *locker.Lease
	token  int64
	count  int
}

// enter records a lease that Lock has just returned. Two live leases, or a token
// that does not grow, are failures.
func (l *ledger) enter(lease *locker.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if l.holder != nil && l.holder.Err() == nil && lease.Err() == nil {
		l.Errorf("two holders: Lock returned a lease with token %d while that with token %d was held", lease.Token(), l.holder.Token())
	}
	if l.info.Fencing && lease.Token() <= l.token {
		l.Errorf("the token went from %d to %d from one holder to the next", l.token, lease.Token())
	}
	l.holder, l.token = lease, lease.Token()
}

// leave records that a lease is about to be unlocked.
func (l *ledger) leave(lease *locker.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.holder == lease {
		l.holder = nil
	}
}

// round locks, holds the lock for a while and unlocks.
func (l *ledger) round(a *application, name string, hold time.Duration) bool {
	lease, err := a.Client.Lock(l.ctx, name)
	switch {
	case errors.Is(err, locker.ErrClosed): // the check has ended, and has said why
		return false
	case err != nil:
		l.failOn(err, "Lock among many")
		return false
	}
	l.enter(lease)
	l.pause(hold)
	l.leave(lease)
	if err := a.Client.Unlock(l.ctx, lease); err != nil {
		l.record(failure{text: "Unlock among many: " + err.Error(), late: true})
		return false
	}
	return true
}
