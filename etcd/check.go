// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// leastVersions are the first of each minor version in which a lease that was
// renewed is surely there (E1). Minor versions after the last have it all.
var leastVersions = []version{{3, 5, 23}, {3, 6, 5}}

type version struct{ major, minor, patch int }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

// reach asks for a key that is not there: whether the server answers, and lets
// us read. It does not wait for a connection, as clientv3 does, so that its
// error says what is wrong with it.
func (b *Backend) reach(ctx context.Context) error {
	_, err := exchange(ctx, func(ctx context.Context) (*pb.RangeResponse, error) {
		kv := pb.NewKVClient(b.client.ActiveConnection())
		reply, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(b.keys.session(0)), CountOnly: true})
		return reply, rpctypes.Error(err)
	})
	return err
}

// checkOnce warns of servers that are too old, once a Backend.
func (b *Backend) checkOnce() {
	b.mu.Lock()
	first := !b.checked
	b.checked = true
	b.mu.Unlock()
	if first {
		b.goroutines.Go(b.checkVersions)
	}
}

func (b *Backend) checkVersions() {
	for _, endpoint := range b.client.Endpoints() {
		reply, err := exchange(b.base, func(ctx context.Context) (*clientv3.StatusResponse, error) {
			return b.client.Status(ctx, endpoint)
		})
		if err != nil {
			continue // it is away, or does not tell us
		}
		if least, old := tooOld(reply.Version); old {
			b.log.Warn("etcd is too old: it may end a lease that was renewed, and with it locks", "endpoint", endpoint, "version", reply.Version, "least", least.String())
		}
	}
}

// tooOld tells whether a version such as "3.6.4" may end a lease that was
// renewed, and the least one that does not. What does not parse is not old.
func tooOld(text string) (least version, old bool) {
	text, _, _ = strings.Cut(text, "-")
	var v version
	if n, err := fmt.Sscanf(text, "%d.%d.%d", &v.major, &v.minor, &v.patch); n < 3 || err != nil {
		return version{}, false
	}
	for _, least := range leastVersions {
		switch {
		case v.major < least.major, v.major == least.major && v.minor < least.minor:
			return least, true
		case v.major == least.major && v.minor == least.minor:
			return least, v.patch < least.patch
		}
	}
	return version{}, false
}
