// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A horizon is what a session knows of the store's past: the youngest state that it
// was shown, and the latest of its own changes. It is safe for concurrent use.
type horizon struct {
	mu     sync.Mutex
	latest state
	proved change // the latest while the store was surely as before
	newest change // or since
	absent change // a key that was found to be deleted, by a request without an answer
}

// A state is what the header of an answer says: of which store, and how young.
type state struct {
	cluster  uint64
	revision int64
}

func stateOf(header *pb.ResponseHeader) state {
	return state{header.GetClusterId(), header.GetRevision()}
}

// behind says that s is not what comes after other: it is of a member that lags, or
// of a store that was put back to what it was before.
func (s state) behind(other state) bool {
	return s.cluster != other.cluster || s.revision < other.revision
}

// A change is a key that was put or deleted, at a revision, or deleted before it.
type change struct {
	key      string
	revision int64
	deleted  bool
	before   bool
}

// looks read each change's key as it was before and after.
func looks(changes []change) (ops []clientv3.Op) {
	for _, c := range changes {
		ops = append(ops,
			clientv3.OpGet(c.key, clientv3.WithRev(c.revision-1), clientv3.WithCountOnly()),
			clientv3.OpGet(c.key, clientv3.WithRev(c.revision), clientv3.WithKeysOnly()))
	}
	return ops
}

// stand says whether the replies to looks show each change.
func stand(changes []change, replies []*pb.ResponseOp) bool {
	for i, c := range changes {
		before, after := replies[2*i].GetResponseRange(), replies[2*i+1].GetResponseRange()
		switch {
		case c.deleted && after.Count > 0, // it is back
			c.deleted && !c.before && before.Count == 0,
			!c.deleted && (after.Count == 0 || after.Kvs[0].ModRevision != c.revision):
			return false
		}
	}
	return true
}

// saw counts an answer, unless it is behind.
func (h *horizon) saw(header *pb.ResponseHeader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := stateOf(header); h.latest == (state{}) || !s.behind(h.latest) { // the first one has nothing to be behind
		h.latest = s
	}
}

// made counts a change of the session's own. Where no stream has lasted since the
// store was known, it may be one to a store that was put back.
func (s *session) made(c change) {
	steady := s.pulses.steady()
	s.horizon.mu.Lock()
	defer s.horizon.mu.Unlock()
	if c.before {
		s.horizon.absent = c
		return
	}
	if c.revision > s.horizon.newest.revision {
		s.horizon.newest = c
	}
	if steady || s.horizon.proved == (change{}) { // the first one has nothing to be put back from
		s.horizon.proved = s.horizon.newest
	}
}

// same counts that the store is as it was when a stream was opened.
func (s *session) same(stream *pulseStream) {
	s.pulses.know(stream)
	s.horizon.mu.Lock()
	defer s.horizon.mu.Unlock()
	s.horizon.proved = s.horizon.newest
}

func (h *horizon) present() (state, []change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changes := []change{h.proved, h.newest}
	if h.absent.revision > h.proved.revision { // else that is enough, and not compacted as early
		changes = append(changes, h.absent)
	}
	return h.latest, changes
}

// restored says whether the store was put back to a snapshot, and then ends the
// session (E5): its lease may live on there, and so do the keys that were unlocked
// since; those that were put since are gone; and a watch waits for a revision that
// comes much later. It asks a quorum where that may be: for the first keep-alive of
// a stream, since servers stop for it, and if the answer to one is behind, which
// may come from a member that lags. A quorum does not lose what it once showed.
func (s *session) restored(ctx context.Context, stream *pulseStream, answer *pb.ResponseHeader) bool {
	if known, _ := s.horizon.present(); !stateOf(answer).behind(known) {
		s.horizon.saw(answer)
		if s.pulses.knows(stream) {
			return false
		}
	}
	was, err := s.asItWas(ctx)
	switch {
	case err != nil: // the next keep-alive asks again
		return false
	case was:
		s.same(stream)
		return false
	}
	_ = s.Lost("the store was put back to what it was before")
	return true
}

// asItWas asks a quorum whether the store still is what the session was shown, and
// has the session's changes in its past, unless one is compacted.
func (s *session) asItWas(ctx context.Context) (bool, error) {
	known, changes := s.horizon.present()
	past, err := exchange(ctx, func(ctx context.Context) (*clientv3.TxnResponse, error) {
		return s.b.client.Txn(ctx).Then(looks(changes)...).Commit()
	})
	switch {
	case is(err, rpctypes.ErrFutureRev):
		return false, nil
	case is(err, rpctypes.ErrCompacted):
		present, err := exchange(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) {
			return s.b.client.Get(ctx, s.b.keys.session(s.lease), clientv3.WithCountOnly())
		})
		return err == nil && !stateOf(present.Header).behind(known), err
	case err != nil:
		return false, err
	}
	return !stateOf(past.Header).behind(known) && stand(changes, past.Responses), nil
}
