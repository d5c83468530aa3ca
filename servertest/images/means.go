// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Free space, in GiB, that a build from nothing was seen to take, rounded up.
const (
	debianSpace = 3
	goSpace     = 6
)

// checkMeans says at once what is missing for a build, rather than after
// minutes of it.
func (b *builder) checkMeans(ctx context.Context, debian, golang []recipe) error {
	var errs []error
	if len(debian) > 0 {
		if _, err := exec.LookPath("mmdebstrap"); err != nil {
			errs = append(errs, errors.New("mmdebstrap is not installed, and builds the Debian base of redis, postgres, zookeeper and its clients: apt-get install mmdebstrap"))
		}
	}
	if len(debian)+len(golang) > 0 {
		errs = append(errs, needSpace(output(ctx, "docker", "info", "--format", "{{.DockerRootDir}}"), debianSpace),
			needSpace(os.TempDir(), 1))
	}
	if len(golang) > 0 {
		errs = append(errs, needSpace(output(ctx, "go", "env", "GOCACHE"), goSpace))
	}
	return errors.Join(errs...)
}

// needSpace passes a folder that it cannot look at: the engine's may lie on
// another machine.
func needSpace(dir string, gib uint64) error {
	var stat syscall.Statfs_t
	if dir == "" || syscall.Statfs(dir, &stat) != nil {
		return nil
	}
	if free := stat.Bavail * uint64(stat.Bsize) >> 30; free < gib {
		return fmt.Errorf("%s has %d GiB left, the build takes %d", dir, free, gib)
	}
	return nil
}

func output(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
