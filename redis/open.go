// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

const openTimeout = 5 * time.Second

func init() {
	backend.Register(backend.Scheme{Name: "redis", Params: params, Check: check, Open: open})
	backend.Register(backend.Scheme{Name: "rediss", Params: slices.Concat(params, tlsfiles.Params), Check: check, Open: open})
	backend.Register(backend.Scheme{Name: "redis+unix", Params: unixParams, Check: check, Open: open})
}

func check(t backend.Target) error {
	if _, err := parse(t); err != nil {
		return err
	}
	return (&Backend{}).Info().CheckTTL(t.TTL)
}

// open connects, and checks the server.
func open(ctx context.Context, t backend.Target) (backend.Backend, error) {
	s, err := parse(t)
	if err != nil {
		return nil, err
	}
	if s.tls {
		if err := s.files.Load(s.options.TLSConfig); err != nil {
			return nil, err
		}
	}
	b, err := New(redis.NewUniversalClient(&s.options), &s.Config)
	if err != nil {
		return nil, err
	}
	b.own = true
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := b.ready(ctx); err != nil {
		_ = b.Close() // the first error is the one to tell
		return nil, fmt.Errorf("%s: %w", strings.Join(s.options.Addrs, ","), err)
	}
	return b, nil
}
