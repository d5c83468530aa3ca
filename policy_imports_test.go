// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// A layer is a set of packages of the root module, named by the first element
// of their path.
type layer string

const (
	layerLocker      layer = "locker" // the root package
	layerBackend     layer = "backend"
	layerAll         layer = "backend/all"
	layerConformance layer = "conformance"
	layerCommand     layer = "cmd"
	layerInternal    layer = "internal"
	layerAdapter     layer = "adapter" // every other directory
	layerOutside     layer = "outside" // neither this module nor the standard library
)

// forbidden says which layer must not import which, and why. Imports run one
// way: standard library ← backend ← {locker, adapters}, and conformance uses
// backend and locker.
var forbidden = []struct {
	from, to layer
	why      string
}{
	{layerBackend, layerLocker, "the SPI is below the Client: an adapter must compile without it"},
	{layerBackend, layerAdapter, "the SPI knows no store; backend/all names them"},
	{layerBackend, layerAll, "the SPI knows no store; backend/all names them"},
	{layerBackend, layerConformance, "the suite tests the SPI, it is no part of it"},
	{layerBackend, layerInternal, "authors outside this module need all that the SPI needs"},
	{layerBackend, layerOutside, "whoever implements the SPI would inherit the dependency"},
	{layerLocker, layerAdapter, "an application must not inherit the drivers of stores it does not use"},
	{layerLocker, layerAll, "an application must not inherit the drivers of stores it does not use"},
	{layerLocker, layerConformance, "the suite is for tests"},
	{layerLocker, layerOutside, "every application would inherit the dependency"},
	{layerAdapter, layerLocker, "an adapter holds a recipe and nothing of the Client's work"},
	{layerAdapter, layerAll, "it would import every other adapter"},
	{layerAdapter, layerConformance, "the suite is for tests"},
	{layerConformance, layerAdapter, "a suite that knows one adapter is unfair to the others"},
	{layerConformance, layerAll, "a suite that knows one adapter is unfair to the others"},
	{layerInternal, layerAdapter, "an adapter is not shared code"},
	{layerAll, layerLocker, "it registers adapters and does nothing else"},
	{layerAll, layerConformance, "it registers adapters and does nothing else"},
}

// containers are import paths, by prefix, that belong to servertest.
var containers = []string{"github.com/testcontainers/", "github.com/docker/", "github.com/moby/"}

func TestImports(t *testing.T) { report(t, checkImports(repository(t))) }

func checkImports(all []*source) (problems []string) {
	for _, s := range rootOnly(all) {
		for i, to := range s.imports() {
			spec := s.file.Imports[i]
			if slices.ContainsFunc(containers, func(prefix string) bool { return strings.HasPrefix(to, prefix) }) {
				problems = append(problems, s.at(spec, "imports %s: container tests are in servertest, so that no application downloads their dependencies", to))
				continue
			}
			if s.isTest() {
				continue
			}
			from, target := layerOf(modulePath+"/"+s.dir()), layerOf(to)
			if from == layerAdapter && target == layerAdapter && topOf(s.dir()) != topOf(strings.TrimPrefix(to, modulePath+"/")) {
				problems = append(problems, s.at(spec, "imports %s: an adapter stands alone: who uses one store must not download the driver of another", to))
			}
			for _, f := range forbidden {
				if f.from == from && f.to == target {
					problems = append(problems, s.at(spec, "imports %s: %s", to, f.why))
				}
			}
		}
	}
	return problems
}

// layerOf returns the layer of an import path, "" for the standard library.
func layerOf(importPath string) layer {
	importPath = path.Clean(importPath)
	rel, ours := strings.CutPrefix(importPath, modulePath+"/")
	switch {
	case importPath == modulePath:
		return layerLocker
	case !ours && strings.Contains(topOf(importPath), "."):
		return layerOutside
	case !ours:
		return ""
	case rel == "backend/all":
		return layerAll
	}
	switch top := layer(topOf(rel)); top {
	case layerBackend, layerConformance, layerCommand, layerInternal:
		return top
	}
	return layerAdapter
}

func topOf(p string) string {
	top, _, _ := strings.Cut(p, "/")
	return top
}

func TestImportsPolicy(t *testing.T) {
	for _, tt := range []struct{ name, path, imports, want string }{
		{"backend, standard library", "backend/a.go", "log/slog", ""},
		{"backend to locker", "backend/a.go", modulePath, "below the Client"},
		{"backend to an adapter", "backend/a.go", modulePath + "/redis", "knows no store"},
		{"backend to a dependency", "backend/a.go", "golang.org/x/sync/semaphore", "would inherit"},
		{"locker to backend", "a.go", modulePath + "/backend", ""},
		{"locker to an adapter", "a.go", modulePath + "/memory", "must not inherit the drivers"},
		{"locker to all", "a.go", modulePath + "/backend/all", "must not inherit the drivers"},
		{"locker's tests to an adapter", "a_test.go", modulePath + "/memory", ""},
		{"adapter to backend", "redis/a.go", modulePath + "/backend", ""},
		{"adapter to its driver", "redis/a.go", "github.com/redis/go-redis/v9", ""},
		{"adapter to its own part", "redis/a.go", modulePath + "/redis/script", ""},
		{"adapter to another", "redis/a.go", modulePath + "/memory", "stands alone"},
		{"adapter to locker", "redis/a.go", modulePath, "nothing of the Client's work"},
		{"adapter's tests to conformance", "redis/a_test.go", modulePath + "/conformance", ""},
		{"adapter to conformance", "redis/a.go", modulePath + "/conformance", "for tests"},
		{"conformance to locker", "conformance/a.go", modulePath, ""},
		{"conformance to an adapter", "conformance/a.go", modulePath + "/redis", "unfair"},
		{"all to an adapter", "backend/all/a.go", modulePath + "/redis", ""},
		{"the command to anything", "cmd/locker/a.go", modulePath + "/backend/all", ""},
		{"containers, in a test", "redis/a_test.go", "github.com/testcontainers/testcontainers-go", "servertest"},
		{"docker", "conformance/a.go", "github.com/docker/docker/client", "servertest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := parse(t, tt.path, "package p\nimport _ \""+tt.imports+"\"\n")
			wantProblem(t, checkImports([]*source{s}), tt.want)
			s.module = "servertest"
			wantProblem(t, checkImports([]*source{s}), "")
		})
	}
}
