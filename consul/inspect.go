// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"

	"github.com/golocker/locker/backend"
)

// Inspect says who holds name: the contender that was stored first. Consul does
// not tell since when.
func (b *Backend) Inspect(ctx context.Context, name string) (backend.State, error) {
	list, err := b.list(ctx, b.keys.directory(name), b.agent.query)
	if err != nil {
		return backend.State{}, err
	}
	all := contenders(list)
	if len(all) == 0 {
		return backend.State{}, nil
	}
	return backend.State{
		Held:    true,
		Note:    string(all[0].Value),
		Token:   int64(all[0].CreateIndex),
		Waiters: len(all) - 1,
	}, nil
}
