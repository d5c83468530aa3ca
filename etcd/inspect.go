// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
)

// Inspect says who holds name: the contender that was stored first, a native
// client's too, which has no note. etcd does not tell since when.
func (b *Backend) Inspect(ctx context.Context, name string) (backend.State, error) {
	reply, err := exchange(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return b.client.Get(ctx, b.keys.directory(name), clientv3.WithFirstCreate()...)
	})
	if err != nil || len(reply.Kvs) == 0 {
		return backend.State{}, err
	}
	return backend.State{
		Held:    true,
		Note:    string(reply.Kvs[0].Value),
		Token:   reply.Kvs[0].CreateRevision,
		Waiters: int(reply.Count) - 1,
	}, nil
}
