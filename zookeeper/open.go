// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

func init() {
	backend.Register(backend.Scheme{Name: "zk", Params: []backend.Param{tickParam}, Check: check, Open: open})
	backend.Register(backend.Scheme{Name: "zks", Params: append([]backend.Param{tickParam}, tlsfiles.Params...), Check: check, Open: open})
}

func check(t backend.Target) error {
	s, err := parse(t)
	if err != nil {
		return err
	}
	return infoOf(s.tickOrDefault()).CheckTTL(t.TTL)
}

// open opens the session that the first Lock uses, and makes the chroot.
func open(ctx context.Context, t backend.Target) (backend.Backend, error) {
	s, err := parse(t)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		if err := s.files.Load(s.tls); err != nil {
			return nil, err
		}
		s.Dialer = (&tls.Dialer{Config: s.tls}).DialContext
	}
	b, err := New(s.Config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	session, err := b.session(ctx, t.TTL)
	if err == nil {
		err = session.makeNode(ctx, b.paths.root)
	}
	if err != nil {
		_ = b.Close() // the first error is the one to tell
		return nil, fmt.Errorf("%s: %w", strings.Join(slices.Sorted(slices.Values(s.Servers)), ","), err)
	}
	return b, nil
}
