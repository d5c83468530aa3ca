// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A horizon is the youngest state of the store that a session was shown. It is
// safe for concurrent use.
type horizon struct {
	mu     sync.Mutex
	latest state
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

// saw counts an answer, unless it is behind.
func (h *horizon) saw(header *pb.ResponseHeader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := stateOf(header); h.latest == (state{}) || !s.behind(h.latest) { // the first one has nothing to be behind
		h.latest = s
	}
}

func (h *horizon) present() state {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.latest
}

// restored says whether the store was put back to a snapshot, which the header of a
// keep-alive's answer makes it suspect, and then ends the session (E5): its lease
// may live on there, and so do the keys that were unlocked since; those that were
// put since are gone; and a watch waits for a revision that comes much later. A
// member may lag, but a quorum does not lose what it once showed.
func (s *session) restored(ctx context.Context, suspect *pb.ResponseHeader) bool {
	known := s.horizon.present()
	if !stateOf(suspect).behind(known) {
		s.horizon.saw(suspect)
		return false
	}
	reply, err := exchange(ctx, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return s.b.client.Get(ctx, s.b.keys.session(s.lease), clientv3.WithCountOnly())
	})
	if err != nil || !stateOf(reply.Header).behind(known) {
		return false // the next keep-alive asks again
	}
	_ = s.Lost("the store was put back to what it was before")
	return true
}
