// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"cmp"
	"context"
	"slices"

	"github.com/hashicorp/consul/api"
)

// contenders returns those among keys of one directory, in their order. A key
// that no session locks is nobody's.
func contenders(list []*api.KVPair) []*api.KVPair {
	list = slices.DeleteFunc(slices.Clone(list), func(pair *api.KVPair) bool {
		return pair.Flags != contenderFlags || pair.Session == ""
	})
	slices.SortFunc(list, func(a, b *api.KVPair) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) })
	return list
}

// find returns the contender with a key, and the one just before it; nil: none.
func find(list []*api.KVPair, key, session string) (own, before *api.KVPair) {
	for _, pair := range contenders(list) {
		if pair.Key == key && pair.Session == session {
			return pair, before
		}
		before = pair
	}
	return nil, nil
}

// list returns the keys that begin with directory.
func (b *Backend) list(ctx context.Context, directory string, options func(context.Context) *api.QueryOptions) ([]*api.KVPair, error) {
	return exchange(ctx, b.agent, func(ctx context.Context) ([]*api.KVPair, error) {
		list, _, err := b.agent.client.KV().List(directory, options(ctx))
		return list, err
	})
}
