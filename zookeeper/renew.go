// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"

	"github.com/golocker/locker/backend"
)

// Renew renews the session: one heartbeat for all its grants. A grant whose node
// somebody deleted by hand is known by its watch (G2f), which is set again here
// if it could not be.
func (b *Backend) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	renewals := make([]backend.Renewal, len(grants))
	s := grants[0].Group.(*session)
	until, err := s.renew(ctx)
	for i, g := range grants {
		switch {
		case !s.holding(g):
			renewals[i].Err = lost("its node was deleted")
		case s.life.Err() != nil:
			renewals[i].Err = context.Cause(s.life)
		case err != nil:
			renewals[i].Err = err
		default:
			renewals[i].Until = until
			s.observe(s.pathOf(g.Sys.(*hold)))
		}
	}
	return renewals
}
