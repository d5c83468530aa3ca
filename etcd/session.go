// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

// A session is a lease and what hangs on it. One goroutine opens, renews and
// revokes it, another watches for its end.
type session struct {
	*sessions.Session
	b      *Backend
	opened chan struct{} // closed when err is set or the session is open
	err    error
	lease  clientv3.LeaseID
	since  int64 // revision at which its key was put
	pulses pulses

	horizon horizon
}

func newSession(b *Backend) *session {
	return &session{Session: sessions.New(b.base), b: b, opened: make(chan struct{})}
}

func (s *session) run(ttl time.Duration) {
	s.err = s.open(ttl)
	close(s.opened)
	if s.err != nil {
		s.Stop(s.err)
		s.revoke(context.WithoutCancel(s.b.base)) // if this fails too it expires, empty
		return
	}
	var watching sync.WaitGroup
	watching.Go(s.watchEnd)
	s.KeepAlive(func(ctx context.Context) error { _, err := s.renew(ctx); return err })
	s.pulses.close()
	watching.Wait()
	s.Tell()
	s.Destroy(s.revoke)
}

func (s *session) open(ttl time.Duration) error {
	var sent time.Time
	lease, err := persist(s.Life(), func(ctx context.Context) (*clientv3.LeaseGrantResponse, error) {
		sent = backend.Now()
		return s.b.client.Grant(ctx, seconds(ttl))
	}, func() {})
	if err != nil {
		return fmt.Errorf("grant a lease: %w", err)
	}
	s.lease = lease.ID
	s.startPulses()
	put, err := persist(s.Life(), func(ctx context.Context) (*clientv3.PutResponse, error) {
		return s.b.client.Put(ctx, s.b.keys.session(s.lease), "", clientv3.WithLease(s.lease))
	}, func() {})
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	s.since = put.Header.Revision
	s.horizon.saw(put.Header)
	s.made(change{key: s.b.keys.session(s.lease), revision: s.since})
	s.Extend(sent, time.Duration(lease.TTL)*time.Second) // as the server gave it (E2)
	s.b.checkOnce()
	return nil
}

// watchEnd stops the session when the server deletes its key.
func (s *session) watchEnd() {
	after := s.since
	for wait := sessions.FirstPause; s.Life().Err() == nil; wait = min(2*wait, s.TTL()/3) {
		if _, err := s.b.watchDeleted(s.Life(), s.b.keys.session(s.lease), after); err == nil {
			_ = s.Lost("its session was ended")
			return
		}
		sessions.Pause(s.Life(), wait)
		here, err := exchange(s.Life(), func(ctx context.Context) (*clientv3.GetResponse, error) {
			return s.b.client.Get(ctx, s.b.keys.session(s.lease), clientv3.WithCountOnly())
		})
		switch {
		case err != nil:
		case here.Count == 0:
			_ = s.Lost("its session was ended")
		default:
			after, wait = here.Header.Revision, sessions.FirstPause
		}
	}
}

// revoke makes one attempt to revoke the lease, and says whether it is gone.
func (s *session) revoke(ctx context.Context) bool {
	if s.lease == 0 {
		return true
	}
	_, err := exchange(ctx, func(ctx context.Context) (*clientv3.LeaseRevokeResponse, error) {
		return s.b.client.Revoke(ctx, s.lease)
	})
	return err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound)
}

// answered passes err on, and learns from it that the lease is gone.
func (s *session) answered(err error) error {
	if is(err, rpctypes.ErrLeaseNotFound) {
		return s.Lost("its lease is gone")
	}
	return err
}
