// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/golocker/locker/backend"
)

// classify tells an error that is no answer from a refusal.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, backend.ErrLost), errors.Is(err, backend.ErrUnavailable):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTooManyRequests):
		return unavailable(err)
	}
	switch codeOf(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Aborted:
		return unavailable(err)
	}
	return err
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", backend.ErrUnavailable, err) }

func lost(why string) error { return fmt.Errorf("%w: %s", backend.ErrLost, why) }

// is tells whether err is a server's error, whichever way it came.
func is(err, target error) bool { return err != nil && errors.Is(rpctypes.Error(err), target) }

func codeOf(err error) codes.Code {
	var server rpctypes.EtcdError
	if errors.As(err, &server) {
		return server.Code()
	}
	return status.Code(err)
}
