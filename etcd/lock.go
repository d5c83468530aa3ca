// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

// A hold is what the adapter remembers of a request, in Grant.Sys.
type hold struct {
	session   *session
	directory string
	key       string
}

// A predecessor is the contender just before one's own, as of a revision; the
// zero key: there is none, the lock is one's own.
type predecessor struct {
	key      string
	revision int64
}

// Lock enqueues a contender, and waits for the one before it to be gone.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	s, err := b.session(ctx, req.TTL)
	if err != nil {
		return nil, err
	}
	req.TTL = s.TTL()
	h := &hold{session: s, directory: b.keys.directory(req.Name), key: b.keys.contender(req.Name, s.lease, req.Owner)}
	g := &backend.Grant{Request: req, Group: s, Sys: h}
	if err := s.Add(req); err != nil {
		return nil, err
	}
	linger, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	before, err := s.enqueue(linger, g)
	if err != nil {
		if s.Doubted(req.Owner) || g.Token != 0 {
			return g, err
		}
		s.Drop(req.Owner)
		return nil, err
	}
	if before.key != "" {
		if req.Queued != nil {
			req.Queued()
		}
		if err := s.waitTurn(ctx, linger, g, before); err != nil {
			return g, err
		}
	}
	if g.Until, err = s.Grant(req.Owner); err != nil {
		return g, err
	}
	return g, nil
}

// enqueue puts the contender's key and returns who is before it. With NoWait it
// puts it only if there is no other.
func (s *session) enqueue(ctx context.Context, g *backend.Grant) (predecessor, error) {
	h, tombstone := g.Sys.(*hold), s.b.keys.tombstone(g.Owner)
	absent := clientv3.Compare(clientv3.CreateRevision(h.key), "=", 0)
	if g.NoWait {
		absent = clientv3.Compare(clientv3.CreateRevision(h.directory), "=", 0).WithPrefix()
	}
	reply, err := persist(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.b.client.Txn(ctx).
			If(absent, clientv3.Compare(clientv3.CreateRevision(tombstone), "=", 0)).
			Then(clientv3.OpPut(h.key, g.Note, clientv3.WithLease(s.lease)),
				clientv3.OpGet(h.directory, append(youngest(2), clientv3.WithKeysOnly())...)).
			Else(clientv3.OpGet(h.key, clientv3.WithKeysOnly()),
				clientv3.OpGet(tombstone, clientv3.WithCountOnly())).
			Commit()
	}, func() { s.Doubt(g.Owner) })
	if err != nil {
		return predecessor{}, s.answered(err)
	}
	s.horizon.saw(reply.Header)
	if reply.Succeeded {
		g.Token = reply.Header.Revision
		s.made(change{key: h.key, revision: g.Token})
		return s.before(g, reply.Responses[1].GetResponseRange().Kvs, reply.Header)
	}
	// A replay finds its own key (E3).
	if own := reply.Responses[0].GetResponseRange().Kvs; len(own) > 0 {
		g.Token = own[0].CreateRevision
		s.made(change{key: h.key, revision: g.Token})
		return s.verify(ctx, g, reply.Header.Revision)
	}
	if reply.Responses[1].GetResponseRange().Count > 0 {
		return predecessor{}, lost("the request was withdrawn")
	}
	return predecessor{}, backend.ErrLocked
}

// waitTurn returns when no contender is before g. It outlives outages, but not
// ctx and not the session (SPI-wait).
func (s *session) waitTurn(ctx, linger context.Context, g *backend.Grant, before predecessor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.Life(), func() { cancel(context.Cause(s.Life())) })()

	for wait := sessions.FirstPause; ; wait = min(2*wait, g.TTL/3) {
		revision, err := s.b.watchDeleted(ctx, before.key, before.revision)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil { // perhaps compacted, or the watch's member left: look, and watch anew
			sessions.Pause(ctx, wait)
		}
		next, err := s.verify(linger, g, revision)
		switch {
		case err == nil && next.key == "":
			return nil
		case err == nil:
			if next.key != before.key {
				wait = sessions.FirstPause
			}
			before = next
		case errors.Is(err, backend.ErrUnavailable):
			sessions.Pause(ctx, wait)
		default:
			return s.answered(err)
		}
	}
}

// verify returns who is before g, as of a revision or later. It believes a
// member that lags only if it asks no more of it (E4).
func (s *session) verify(ctx context.Context, g *backend.Grant, revision int64) (predecessor, error) {
	h := g.Sys.(*hold)
	opts := append(youngest(2), clientv3.WithKeysOnly(), clientv3.WithMaxCreateRev(g.Token))
	read := func(opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
		return exchange(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return s.b.client.Get(ctx, h.directory, opts...)
		})
	}
	reply, err := read(append(opts, clientv3.WithSerializable())...)
	if err == nil && reply.Header.Revision < max(revision, g.Token) {
		reply, err = read(opts...)
	}
	if err != nil {
		return predecessor{}, err
	}
	return s.before(g, reply.Kvs, reply.Header)
}

// before finds g and who is before it in a list, youngest first.
func (s *session) before(g *backend.Grant, list []*mvccpb.KeyValue, header *pb.ResponseHeader) (predecessor, error) {
	if len(list) == 0 || list[0].CreateRevision != g.Token || string(list[0].Key) != g.Sys.(*hold).key {
		return predecessor{}, lost("its key was deleted")
	}
	if len(list) == 1 {
		return predecessor{}, nil
	}
	return predecessor{key: string(list[1].Key), revision: header.Revision}, nil
}

// youngest asks for the n keys that were created last, youngest first.
func youngest(n int64) []clientv3.OpOption {
	return []clientv3.OpOption{
		clientv3.WithPrefix(), clientv3.WithLimit(n),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortDescend),
	}
}
