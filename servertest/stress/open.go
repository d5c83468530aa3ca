// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	_ "github.com/golocker/locker/backend/all" // the stores
)

// OpenURL opens a client of this module.
func OpenURL(ctx context.Context, url string, ttl time.Duration, queued func(note string)) (locker.Locker, error) {
	target, err := backend.ParseTarget(url)
	if err != nil {
		return nil, err
	}
	target.TTL, target.Logger = ttl, slog.Default()
	b, err := backend.Open(ctx, target)
	if err != nil {
		return nil, err
	}
	return locker.New(observed{b, queued, strings.HasPrefix(target.Scheme, "postgres")}, &locker.Config{TTL: ttl})
}

// observed tells which Lock the store has queued.
type observed struct {
	backend.Backend
	queued func(note string)
	early  bool // a Lock with a deadline may be told so before it is in the queue
}

func (o observed) Unwrap() backend.Backend { return o.Backend }

func (o observed) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	if _, bounded := ctx.Deadline(); bounded && o.early {
		return o.Backend.Lock(ctx, req)
	}
	told := req.Queued
	req.Queued = func() {
		o.queued(req.Note)
		if told != nil {
			told()
		}
	}
	return o.Backend.Lock(ctx, req)
}
