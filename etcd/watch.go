// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/golocker/locker/backend"
)

var errWatchEnded = errors.New("the watch ended")

// watchDeleted returns when a key that was there at a revision is deleted, with a
// revision at which it was gone. An error says that it does not know.
//
// The watch begins with the present: the server serves one that begins in the past
// in steps of 100 ms. If it began later than after, a read tells what was missed.
func (b *Backend) watchDeleted(ctx context.Context, key string, after int64) (revision int64, err error) {
	generation := b.streams.Load()
	watch, cancel := context.WithCancel(b.watchContext(generation))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()

	for reply := range b.client.Watch(watch, key, clientv3.WithCreatedNotify(), clientv3.WithFilterPut()) {
		if err := reply.Err(); err != nil {
			err = classify(err)
			if !is(err, rpctypes.ErrCompacted) && !errors.Is(err, backend.ErrUnavailable) {
				b.streams.CompareAndSwap(generation, generation+1)
			}
			return 0, err
		}
		if reply.Created && reply.Header.Revision > after {
			here, err := exchange(watch, func(ctx context.Context) (*clientv3.GetResponse, error) {
				return b.client.Get(ctx, key, clientv3.WithCountOnly())
			})
			if err != nil {
				return 0, err
			}
			if here.Count == 0 {
				return here.Header.Revision, nil
			}
		}
		for _, event := range reply.Events {
			if event.Type == mvccpb.Event_DELETE {
				return event.Kv.ModRevision, nil
			}
		}
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return 0, unavailable(errWatchEnded)
}

// watchContext returns the context of a watch. The client puts all watches with
// equal metadata on one stream, and a stream keeps the token with which it was
// opened: once that has expired the server refuses watches on it, and new ones
// go to a new stream.
func (b *Backend) watchContext(generation int64) context.Context {
	ctx := clientv3.WithRequireLeader(b.base)
	if generation > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "locker-stream", strconv.FormatInt(generation, 10))
	}
	return ctx
}
