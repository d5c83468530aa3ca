// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

func init() {
	backend.Register(backend.Scheme{Name: "etcd", Check: check, Open: open})
	backend.Register(backend.Scheme{Name: "etcds", Params: tlsfiles.Params, Check: check, Open: open})
}

func check(t backend.Target) error {
	if _, err := parse(t); err != nil {
		return err
	}
	return (&Backend{}).Info().CheckTTL(t.TTL)
}

// open connects.
func open(ctx context.Context, t backend.Target) (backend.Backend, error) {
	s, err := parse(t)
	if err != nil {
		return nil, err
	}
	if s.client.TLS != nil {
		if err := s.files.Load(s.client.TLS); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	b, err := s.connect(ctx)
	if timedOut(err) && s.client.Username != "" {
		// No token, and no word why: a client without a password has it.
		s.client.Username, s.client.Password = "", ""
		probe, why := s.connect(ctx)
		if why == nil {
			_ = probe.Close()
		} else if errors.Is(why, backend.ErrUnavailable) {
			err = why
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(s.client.Endpoints, ","), err)
	}
	b.checkOnce()
	return b, nil
}

// connect makes a client, and asks the server for something.
func (s *settings) connect(ctx context.Context) (*Backend, error) {
	client, err := clientv3.New(s.client) // asks for a token if there is a password
	if err != nil {
		return nil, classify(err)
	}
	b, err := New(client, &s.Config)
	if err != nil {
		return nil, err
	}
	b.own = true
	if _, err := persist(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, b.reach(ctx) }, func() {}); err != nil {
		_ = b.Close() // the first error is the one to tell
		return nil, err
	}
	return b, nil
}
