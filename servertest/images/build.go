// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

const (
	// baseCommand makes the Debian that the Dockerfiles start from; a tar
	// archive follows. Without a mirror it uses Debian's own, with the updates
	// and the security updates.
	baseCommand = "mmdebstrap --variant=minbase bookworm"
	baseImage   = "locker-test/debian:bookworm-minbase" // changes with the command
	goFlags     = "-trimpath -buildvcs=false -ldflags=-s"
)

// Ensure makes sure that there is an image of each of the given servers,
// building what is missing, and tells log what it does. Its map leads from the
// server to the image. Two builds run at a time: one from Debian, one with Go.
func Ensure(ctx context.Context, log io.Writer, servers ...string) (map[string]string, error) {
	b := &builder{log: log}
	refs := map[string]string{}
	var debian, golang []recipe
	for _, server := range servers {
		r, err := recipeOf(server)
		if err != nil {
			return nil, err
		}
		ref, err := r.find(ctx)
		switch {
		case err != nil:
			return nil, err
		case ref != "":
			refs[server] = ref
			b.say(server, "have %s", ref)
			continue
		}
		if refs[server], err = r.tag(); err != nil {
			return nil, err
		}
		b.say(server, "%s: building %s", r.absence(), refs[server])
		if r.binaries == nil {
			debian = append(debian, r)
		} else {
			golang = append(golang, r)
		}
	}
	if err := b.checkMeans(ctx, debian, golang); err != nil {
		return nil, err
	}
	// The longest build first: the others fit in beside it.
	slices.Reverse(golang)
	errs := make([]error, 2)
	var group sync.WaitGroup
	group.Go(func() { errs[0] = b.fromDebian(ctx, debian) })
	group.Go(func() { errs[1] = b.fromGo(ctx, golang) })
	group.Wait()
	return refs, errors.Join(errs...)
}

type builder struct {
	mu  sync.Mutex
	log io.Writer
}

func (b *builder) say(server, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = fmt.Fprintf(b.log, "images: %-17s %s\n", server, fmt.Sprintf(format, args...))
}

func (b *builder) fromDebian(ctx context.Context, missing []recipe) error {
	if len(missing) == 0 {
		return nil
	}
	base, err := b.base(ctx)
	if err != nil {
		return err
	}
	for _, r := range missing {
		dir, err := r.dir()
		if err != nil {
			return err
		}
		if err := b.dockerBuild(ctx, r, dir, "--build-arg", "BASE="+base); err != nil {
			return fmt.Errorf("%w\nIt needs Debian's package mirrors", err)
		}
	}
	return nil
}

// base imports the smallest Debian that has a package manager, once.
func (b *builder) base(ctx context.Context) (string, error) {
	if present(ctx, baseImage) {
		return baseImage, nil
	}
	dir, err := os.MkdirTemp("", "locker-images-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	archive := filepath.Join(dir, "debian.tar")
	bootstrap := strings.Fields(baseCommand + " " + archive)
	if err := b.run(ctx, "debian", "fetch the base system", exec.CommandContext(ctx, bootstrap[0], bootstrap[1:]...)); err != nil {
		return "", fmt.Errorf("%w\nIt needs Debian's package mirrors, and root or user namespaces", err)
	}
	return baseImage, b.run(ctx, "debian", "import it", exec.CommandContext(ctx, "docker", "import", archive, baseImage))
}

func (b *builder) fromGo(ctx context.Context, missing []recipe) error {
	for _, r := range missing {
		if err := b.compile(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) compile(ctx context.Context, r recipe) error {
	source, err := r.dir()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "locker-images-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, file := range slices.Sorted(maps.Keys(r.binaries)) {
		args := append([]string{"build", "-o", filepath.Join(dir, file)}, strings.Fields(goFlags)...)
		cmd := exec.CommandContext(ctx, "go", append(args, r.binaries[file])...)
		cmd.Dir = source
		// The image's system is Linux whatever the host's is.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOWORK=off")
		if err := b.run(ctx, r.server, "compile "+file+", "+r.hint, cmd); err != nil {
			return fmt.Errorf("%w\nIt needs the Go module proxy", err)
		}
	}
	dockerfile, err := os.ReadFile(filepath.Join(source, "Dockerfile"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), dockerfile, 0o644); err != nil {
		return err
	}
	return b.dockerBuild(ctx, r, dir)
}

func (b *builder) dockerBuild(ctx context.Context, r recipe, dir string, args ...string) error {
	tag, err := r.tag()
	if err != nil {
		return err
	}
	args = append([]string{"build", "--quiet", "--tag", tag}, args...)
	return b.run(ctx, r.server, "build "+tag, exec.CommandContext(ctx, "docker", append(args, dir)...))
}

// run runs one step, and shows every 20 seconds that it is still alive.
func (b *builder) run(ctx context.Context, server, what string, cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := backend.Now()
	b.say(server, "%s", what)
	alive := time.NewTicker(20 * time.Second)
	defer alive.Stop()
	done := make(chan error, 1)
	go func() { done <- cmd.Run() }()
	for {
		select {
		case <-alive.C:
			b.say(server, "%s: %.0f s so far", what, backend.Now().Sub(start).Seconds())
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: %s failed after %.0f s: %w\n$ %s\n%s", server, what,
					backend.Now().Sub(start).Seconds(), errors.Join(err, ctx.Err()), cmd, tail(out.String(), 30))
			}
			b.say(server, "%s: done in %.1f s", what, backend.Now().Sub(start).Seconds())
			return nil
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
