// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"errors"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
)

// Unlock deletes the contender's key.
func (b *Backend) Unlock(ctx context.Context, g *backend.Grant) error {
	s := g.Sys.(*hold).session
	found, err := s.remove(ctx, g)
	if err != nil {
		return err
	}
	s.Drop(g.Owner)
	if !found {
		return lost("its key is gone")
	}
	return nil
}

// Withdraw deletes the contender's key, if it was stored.
func (b *Backend) Withdraw(ctx context.Context, g *backend.Grant) error {
	s := g.Sys.(*hold).session
	if _, err := s.remove(ctx, g); err != nil {
		return err
	}
	s.Drop(g.Owner)
	return nil
}

// retreat deletes the key of a contender that must not wait, and ends its Lock
// with why. What it could not delete is the Client's to withdraw.
func (s *session) retreat(ctx context.Context, g *backend.Grant, why error) (*backend.Grant, error) {
	if s.b.Withdraw(ctx, g) != nil {
		return g, why
	}
	return nil, why
}

// remove deletes the contender's key and says whether it was there. If its
// enqueue may still be on its way, it leaves a tombstone that the enqueue meets.
func (s *session) remove(ctx context.Context, g *backend.Grant) (found bool, err error) {
	switch {
	case s.Gone():
		return false, nil
	case s.Doubted(g.Owner):
		return s.bury(ctx, g)
	}
	return s.delete(ctx, g.Sys.(*hold).key)
}

// delete deletes a key that the session locks, and says whether it was there.
func (s *session) delete(ctx context.Context, key string) (found bool, err error) {
	answer, err := s.b.agent.txn(ctx,
		api.KVTxnOp{Verb: api.KVCheckSession, Key: key, Session: s.id},
		api.KVTxnOp{Verb: api.KVDelete, Key: key},
	)
	switch {
	case err != nil:
		return false, err
	case len(answer.Errors) == 0:
		return true, nil
	case isOtherSession(answer.Errors[0].What):
		return false, nil
	}
	return false, readable{errors.New(answer.Errors[0].What)}
}

// isOtherSession says whether Consul found that a session does not lock a key.
func isOtherSession(what string) bool {
	return strings.HasPrefix(what, "failed session check") || strings.HasPrefix(what, "failed to check session")
}

// bury deletes the contender's key and writes its tombstone.
func (s *session) bury(ctx context.Context, g *backend.Grant) (found bool, err error) {
	key, tombstone := g.Sys.(*hold).key, s.b.keys.tombstone(g.Owner)
	answer, err := s.b.agent.txn(ctx,
		api.KVTxnOp{Verb: api.KVLock, Key: tombstone, Session: s.id},
		api.KVTxnOp{Verb: api.KVGetTree, Key: key}, // unlike a get, it succeeds if there is none
		api.KVTxnOp{Verb: api.KVDelete, Key: key},
	)
	if err != nil {
		return false, err
	}
	if len(answer.Errors) > 0 {
		if err = s.rolledBack(answer.Errors); errors.Is(err, backend.ErrLost) {
			return false, nil // the session is gone, and every key of it
		}
		return false, err
	}
	s.Buried(g.Owner)
	return len(answer.Results) > 1, nil
}
