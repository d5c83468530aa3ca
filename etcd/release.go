// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

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
	if found {
		return nil
	}
	if why := context.Cause(s.Life()); errors.Is(why, backend.ErrLost) {
		return why
	}
	return lost("its key is gone")
}

// Withdraw deletes the contender's key, if it was put.
func (b *Backend) Withdraw(ctx context.Context, g *backend.Grant) error {
	s := g.Sys.(*hold).session
	if _, err := s.remove(ctx, g); err != nil {
		return err
	}
	s.Drop(g.Owner)
	return nil
}

// remove deletes the contender's key and says whether it was there. If its
// enqueue may still be on its way, it leaves a tombstone that the enqueue meets.
func (s *session) remove(ctx context.Context, g *backend.Grant) (found bool, err error) {
	if s.Gone() {
		return false, nil
	}
	h := g.Sys.(*hold)
	if s.Doubted(g.Owner) {
		found, err = s.bury(ctx, g)
	} else {
		found, err = s.delete(ctx, h.key, clientv3.Compare(clientv3.CreateRevision(h.key), "=", g.Token))
	}
	if is(err, rpctypes.ErrLeaseNotFound) { // and so is every key of it
		_ = s.answered(err)
		return false, nil
	}
	return found, err
}

// delete is one guarded delete.
func (s *session) delete(ctx context.Context, key string, guard ...clientv3.Cmp) (found bool, err error) {
	reply, err := exchange(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.b.client.Txn(ctx).If(guard...).Then(clientv3.OpDelete(key)).Commit()
	})
	if err != nil {
		return false, err
	}
	s.horizon.saw(reply.Header)
	found = reply.Succeeded && reply.Responses[0].GetResponseDeleteRange().Deleted > 0
	s.made(change{key: key, revision: reply.Header.Revision, deleted: true, before: !found})
	return found, nil
}

func (s *session) bury(ctx context.Context, g *backend.Grant) (found bool, err error) {
	h, tombstone := g.Sys.(*hold), s.b.keys.tombstone(g.Owner)
	reply, err := exchange(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.b.client.Txn(ctx).Then(
			clientv3.OpPut(tombstone, "", clientv3.WithLease(s.lease)),
			clientv3.OpDelete(h.key),
		).Commit()
	})
	if is(err, rpctypes.ErrNoSpace) {
		// No room for the tombstone, now: let at least the others go on.
		if _, err := s.delete(ctx, h.key); err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	s.horizon.saw(reply.Header)
	s.made(change{key: tombstone, revision: reply.Header.Revision})
	s.Buried(g.Owner)
	return reply.Responses[1].GetResponseDeleteRange().Deleted > 0, nil
}
