// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
)

// classify tells an error that is no answer from a refusal.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, backend.ErrLost), errors.Is(err, backend.ErrUnavailable):
		return err
	case errors.Is(err, zk.ErrConnectionClosed), errors.Is(err, zk.ErrNoServer), errors.Is(err, zk.ErrClosing), errors.Is(err, zk.ErrSessionMoved):
		return unavailable(err)
	}
	return err
}

// isRefusal says whether a classified error is a server's answer.
func isRefusal(err error) bool {
	return err != nil && !errors.Is(err, backend.ErrUnavailable) && !errors.Is(err, backend.ErrLost)
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", backend.ErrUnavailable, err) }

func lost(why string) error { return fmt.Errorf("%w: %s", backend.ErrLost, why) }

// isUnimplemented recognizes the answer to a request that the server does not
// know. The driver has no name for it.
func isUnimplemented(err error) bool { return err != nil && err.Error() == "unknown error: -6" }
