// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package images finds the container image of each server that the tests use,
// and builds the same server where its official image cannot be had.
//
// The order for each server, first hit wins:
//
//  1. the environment: LOCKER_IMAGE_REDIS, LOCKER_IMAGE_POSTGRES, …;
//  2. an image that was built here before (locker-test/redis:7-<hash of the recipe>);
//  3. the official image, present or pullable; never with LOCKER_IMAGES=local;
//  4. a build: Debian's packages for Redis, Postgres and ZooKeeper, the Go
//     module proxy for etcd and Consul. Only [Ensure] builds, [Find] does not.
//
// Clients that share a lock with ours are an image too, zookeeper-clients, which is
// always built.
package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// A recipe says where the image of one server comes from.
type recipe struct {
	server   string
	version  string
	official string            // empty: there is none
	binaries map[string]string // file in the image → Go package; empty for a server from Debian
	hint     string            // what a user should expect of the build
}

// Debian's suite fixes the versions of the three servers that come from it, so
// the official ones are of the same release.
var recipes = []recipe{
	{server: "redis", version: "7", official: "redis:7"},
	{server: "postgres", version: "15", official: "postgres:15"},
	{server: "zookeeper", version: "3.8", official: "zookeeper:3.8"},
	{server: "zookeeper-clients", version: "bookworm"},
	{server: "etcd", version: "3.7.3", official: "gcr.io/etcd-development/etcd:v3.7.3", binaries: map[string]string{
		"etcd": "go.etcd.io/etcd/server/v3", "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
	}, hint: "about a minute"},
	{server: "consul", version: "1.22.3", official: "hashicorp/consul:1.22.3", binaries: map[string]string{
		"consul": "github.com/hashicorp/consul",
	}, hint: "2 to 10 minutes, once"},
}

// Servers lists the servers that have an image, in the order of their start-up cost.
func Servers() []string {
	var names []string
	for _, r := range recipes {
		names = append(names, r.server)
	}
	return names
}

// Find names the image of a server, pulling the official one if need be.
// It never builds: its error says which command does.
func Find(ctx context.Context, server string) (string, error) {
	r, err := recipeOf(server)
	if err != nil {
		return "", err
	}
	ref, err := r.find(ctx)
	if err != nil {
		return "", err
	}
	if ref == "" {
		return "", fmt.Errorf("no image of %s: %s; build it with `go run ./cmd/images %s` in servertest, or name one in %s", server, r.absence(), server, r.variable())
	}
	return ref, nil
}

func recipeOf(server string) (recipe, error) {
	for _, r := range recipes {
		if r.server == server {
			return r, nil
		}
	}
	return recipe{}, fmt.Errorf("no image is known for server %q (known: %s)", server, strings.Join(Servers(), ", "))
}

// find returns "" if the image has to be built.
func (r recipe) find(ctx context.Context) (string, error) {
	if ref := os.Getenv(r.variable()); ref != "" {
		return ref, nil
	}
	if err := Docker(ctx); err != nil {
		return "", err
	}
	local, err := r.tag()
	if err != nil {
		return "", err
	}
	if present(ctx, local) {
		return local, nil
	}
	if r.official == "" || os.Getenv("LOCKER_IMAGES") == "local" {
		return "", nil
	}
	if present(ctx, r.official) || pull(ctx, r.official) == nil {
		return r.official, nil
	}
	return "", nil
}

func (r recipe) variable() string {
	return "LOCKER_IMAGE_" + strings.ToUpper(strings.ReplaceAll(r.server, "-", "_"))
}

// absence says why there is no image.
func (r recipe) absence() string {
	if r.official == "" {
		return "it is not here, and there is no official one"
	}
	return r.official + " is neither here nor pullable"
}

// tag is the name of the local build. It changes with everything that the
// build depends on, so that a stale image is never taken for a fresh one.
func (r recipe) tag() (string, error) {
	dir, err := r.dir()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	_, _ = fmt.Fprintln(hash, baseCommand, goFlags)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		const executable = 0o100
		_, _ = fmt.Fprintf(hash, "%s %t %d\n%s", name, info.Mode()&executable != 0, len(content), content)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash the recipe of %s: %w", r.server, err)
	}
	return fmt.Sprintf("locker-test/%s:%s-%s", r.server, r.version, hex.EncodeToString(hash.Sum(nil))[:8]), nil
}

// dir is the recipe's folder, beside this source file. The recipes of etcd and
// Consul are modules of their own, which an embed directive cannot reach.
func (r recipe) dir() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), r.server)
	if _, err := os.Stat(dir); !ok || err != nil {
		return "", fmt.Errorf("the recipe of %s is not at %s: run from a checkout, without -trimpath", r.server, dir)
	}
	return dir, nil
}

func present(ctx context.Context, ref string) bool {
	return exec.CommandContext(ctx, "docker", "image", "inspect", ref).Run() == nil
}

// Docker tells why no container can run here; nil if one can.
func Docker(ctx context.Context) error {
	if _, err := exec.LookPath("docker"); err != nil {
		return fmt.Errorf("no Docker: the command is not installed: %w", err)
	}
	out, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err != nil {
		return fmt.Errorf("no Docker: the engine does not answer: %s", strings.TrimSpace(string(out)))
	}
	return nil
}
