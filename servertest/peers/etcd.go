// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"context"
	"errors"
	"io"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/golocker/locker"
)

// mutexes is concurrency.Mutex of etcd's client, with one session for all locks
// of a process, or one for each.
type mutexes struct {
	client  *clientv3.Client
	ttl     time.Duration
	session *concurrency.Session // nil: one for each lock
}

func openEtcd(ctx context.Context, addr string, ttl time.Duration) (*mutexes, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	if _, err := client.Get(ctx, "ready"); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &mutexes{client: client, ttl: ttl}, nil
}

func openEtcdSessions(ctx context.Context, addr string, ttl time.Duration) (library, error) {
	return openEtcd(ctx, addr, ttl)
}

func openEtcdSession(ctx context.Context, addr string, ttl time.Duration) (library, error) {
	m, err := openEtcd(ctx, addr, ttl)
	if err != nil {
		return nil, err
	}
	if m.session, err = m.open(); err != nil {
		return nil, errors.Join(err, m.client.Close())
	}
	return m, nil
}

func (m *mutexes) open() (*concurrency.Session, error) {
	return concurrency.NewSession(m.client, concurrency.WithTTL(int(m.ttl/time.Second)))
}

func (m *mutexes) lock(ctx context.Context, name string, try bool) (_ *held, err error) {
	session, done := m.session, io.Closer(io.NopCloser(nil))
	if session == nil {
		if session, err = m.open(); err != nil {
			return nil, err
		}
		done = session
	}
	defer func() {
		if err != nil {
			_ = done.Close()
		}
	}()
	mutex := concurrency.NewMutex(session, "/peers/"+name)
	take := mutex.Lock
	if try {
		take = mutex.TryLock
	}
	if err := take(ctx); err != nil {
		if errors.Is(err, concurrency.ErrLocked) {
			return nil, locker.ErrLocked
		}
		return nil, err
	}
	return &held{
		lost:   session.Done(),
		unlock: func(ctx context.Context) error { return errors.Join(mutex.Unlock(ctx), done.Close()) },
	}, nil
}

func (m *mutexes) Close() error { return m.client.Close() }
