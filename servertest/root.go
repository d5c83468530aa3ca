// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"os"
	"testing"
)

// Root is the container's root directory as the host sees it, until the
// container stops: a server's Unix socket can be dialled there. It needs root on
// Linux, and an engine on this machine.
func (s *Server) Root(t testing.TB) (dir string) {
	t.Helper()
	s.step(t, "find the root directory", func(ctx context.Context, id string) error {
		pid, err := s.pid(ctx, id)
		dir = "/proc/" + pid + "/root"
		return err
	})
	if _, err := os.Stat(dir + "/"); err != nil {
		skip(t, "the file system of a container needs root on Linux: "+err.Error())
	}
	return dir
}
