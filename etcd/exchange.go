// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

const (
	// exchangeTimeout bounds one request. A member that does not answer is
	// not the only one: the next request goes to another.
	exchangeTimeout = 3 * time.Second

	// patience is how long a request that the store never answered is sent
	// again.
	patience = 4 * time.Second
)

// exchange makes one request. A member without a leader answers at once.
func exchange[T any](ctx context.Context, send func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), exchangeTimeout)
	defer cancel()
	reply, err := send(ctx)
	return reply, classify(err)
}

// persist makes a request until it is answered, or patience or ctx ends. silent
// is called after each that was not.
func persist[T any](ctx context.Context, send func(context.Context) (T, error), silent func()) (T, error) {
	over := backend.Now().Add(patience)
	var reason error
	for wait := sessions.FirstPause; ; wait *= 2 {
		reply, err := exchange(ctx, send)
		if !errors.Is(err, backend.ErrUnavailable) {
			return reply, err
		}
		silent()
		if err = because(err, reason); !timedOut(err) {
			reason = err
		}
		if ctx.Err() != nil || backend.Now().Add(wait).After(over) {
			return reply, err
		}
		sessions.Pause(ctx, wait)
	}
}

// because prefers the reason of an earlier try, such as a certificate that was
// refused, to a time-out.
func because(err, reason error) error {
	if timedOut(err) && reason != nil {
		return reason
	}
	return err
}

func timedOut(err error) bool {
	code := codeOf(err)
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || code == codes.DeadlineExceeded || code == codes.Canceled
}
