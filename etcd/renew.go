// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
)

// Renew renews the session: one keep-alive for all its grants. Beside it, one
// request finds those whose key somebody deleted by hand (G2f).
func (b *Backend) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	renewals := make([]backend.Renewal, len(grants))
	s := grants[0].Group.(*session)
	var missing map[*backend.Grant]bool
	var looking sync.WaitGroup
	looking.Go(func() { missing = s.missing(ctx, grants) })
	until, err := s.renew(ctx)
	looking.Wait()

	for i, g := range grants {
		switch {
		case missing[g]:
			renewals[i].Err = s.forget(ctx, g)
		case s.Life().Err() != nil:
			renewals[i].Err = context.Cause(s.Life())
		case err != nil:
			renewals[i].Err = err
		default:
			renewals[i].Until = until
		}
	}
	return renewals
}

// forget drops a holder whose key was deleted, and returns that as a loss; or an
// error, if its enqueue may still be on its way and bring the key back (G1a).
func (s *session) forget(ctx context.Context, g *backend.Grant) error {
	if s.Doubted(g.Owner) {
		if _, err := s.bury(ctx, g); err != nil && !is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
	}
	s.Drop(g.Owner)
	return lost("its key was deleted")
}

// missing returns the grants whose key is surely gone.
func (s *session) missing(ctx context.Context, grants []*backend.Grant) map[*backend.Grant]bool {
	reply, err := exchange(ctx, func(ctx context.Context) (*clientv3.LeaseTimeToLiveResponse, error) {
		return s.b.client.TimeToLive(ctx, s.lease, clientv3.WithAttachedKeys())
	})
	if err != nil {
		return nil // the next renewal asks again
	}
	if reply.TTL < 0 {
		_ = s.Lost("its lease is gone")
		return nil
	}
	present := make(map[string]bool, len(reply.Keys))
	for _, key := range reply.Keys {
		present[string(key)] = true
	}
	missing := map[*backend.Grant]bool{}
	for _, g := range grants {
		if key := g.Sys.(*hold).key; !present[key] && s.absent(ctx, key) {
			missing[g] = true
		}
	}
	return missing
}

// absent asks a quorum: a leader that was just deposed does not know the latest
// keys.
func (s *session) absent(ctx context.Context, key string) bool {
	reply, err := exchange(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.b.client.Get(ctx, key, clientv3.WithCountOnly())
	})
	return err == nil && reply.Count == 0
}
