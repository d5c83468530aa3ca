// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"path"

	"github.com/golocker/locker/backend"
)

// sweep deletes the session's keys that are nobody's. A snapshot that is restored
// brings back what was unlocked since it was saved, locked by a session that lives
// and is renewed: others would wait for it as long as this process runs (C6).
func (s *session) sweep(ctx context.Context) error {
	list, err := s.b.list(ctx, s.b.keys.prefix, s.b.agent.consistent)
	if err != nil {
		return err
	}
	wanted := map[string]bool{} // asked for after the list: a request is known before it is sent
	for _, owner := range s.Owners() {
		wanted[backend.Escape(owner)] = true
	}
	for _, pair := range list {
		if pair.Session != s.id || pair.Flags != contenderFlags || wanted[path.Base(pair.Key)] {
			continue
		}
		if _, err := s.delete(ctx, pair.Key); err != nil {
			return err
		}
	}
	return nil
}
