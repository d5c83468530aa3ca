// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/golocker/locker/backend"
)

func init() {
	backend.Register(backend.Scheme{Name: "file", Check: check, Open: open})
}

func check(t backend.Target) error {
	if _, err := directory(t); err != nil {
		return err
	}
	return (&Backend{}).Info().CheckTTL(t.TTL)
}

func open(_ context.Context, t backend.Target) (backend.Backend, error) {
	dir, err := directory(t)
	if err != nil {
		return nil, err
	}
	b, err := New(dir)
	if err != nil {
		return nil, err
	}
	if err := b.prepare(); err != nil {
		return nil, err
	}
	return b, nil
}

// directory returns the directory that a URL names.
func directory(t backend.Target) (string, error) {
	switch {
	case len(t.Hosts) > 0:
		return "", errors.New("a host has no meaning here: write file:///dir, with three slashes")
	case t.User != "" || t.Password != "":
		return "", errors.New("a user or password has no meaning here: write file:///dir")
	}
	path := t.Path
	if path != "" && filepath.VolumeName(path[1:]) != "" {
		path = path[1:] // /C:/dir on Windows
	}
	path = filepath.Clean(filepath.FromSlash(path))
	if path == "." || path == filepath.Dir(path) {
		return "", errors.New("the URL names no directory: write file:///dir, with three slashes")
	}
	return path, nil
}
