// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
)

// Renew renews the session, once for all its grants. Beside it, it looks which of
// their keys somebody deleted by hand (G2f).
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
		case s.Life().Err() != nil:
			renewals[i].Err = context.Cause(s.Life())
		case missing[g]:
			renewals[i].Err = s.forget(ctx, g)
		case err != nil:
			renewals[i].Err = err
		default:
			renewals[i].Until = until
		}
	}
	return renewals
}

// missing returns the grants whose key is surely gone. What it cannot ask for in
// time the next renewal asks for.
func (s *session) missing(ctx context.Context, grants []*backend.Grant) map[*backend.Grant]bool {
	missing := map[*backend.Grant]bool{}
	for batch := range slices.Chunk(grants, maxTxnOps) {
		failed, err := s.check(ctx, batch)
		if err != nil {
			break
		}
		for _, e := range failed {
			if isOtherSession(e.What) && e.OpIndex < len(batch) {
				missing[batch[e.OpIndex]] = true
			}
		}
	}
	return missing
}

// forget drops a holder whose key was deleted, and returns that as a loss; or an
// error, if its enqueue may still be on its way and bring the key back (G1a).
func (s *session) forget(ctx context.Context, g *backend.Grant) error {
	if s.Doubted(g.Owner) {
		if _, err := s.bury(ctx, g); err != nil {
			return err
		}
	}
	s.Drop(g.Owner)
	return lost("its key was deleted")
}

// check asks for the grants' keys, in one transaction, and returns what is not
// as it was. It asks the leader to make sure that it is one: a server that lags
// does not know the latest keys.
func (s *session) check(ctx context.Context, grants []*backend.Grant) (api.TxnErrors, error) {
	a := s.b.agent
	var ops []api.KVTxnOp
	for _, g := range grants {
		ops = append(ops, api.KVTxnOp{Verb: api.KVCheckSession, Key: g.Sys.(*hold).key, Session: s.id})
	}
	return bounded(ctx, exchangeTimeout, func(ctx context.Context) (api.TxnErrors, error) {
		_, answer, _, err := a.renewals.Txn().Txn(a.ops(ops...), a.consistent(ctx))
		if err != nil {
			return nil, err
		}
		return answer.Errors, nil
	})
}
