// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/file"
)

// openWithin bounds the opening of a backend. Its own bound is 5 s.
const openWithin = 10 * time.Second

// A store is the backend that the user chose.
type store struct {
	url string // of --backend
	ttl time.Duration

	target backend.Target // what open opened
	files  *lockFiles     // nil where the lock is not a file
}

func (s *store) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.url, "backend", "", "`URL` of the backend (default $LOCKER_URL, else lock files)")
}

// open returns a client. Its errors are exits.
func (s *store) open(ctx context.Context) (*locker.Client, error) {
	if err := s.choose(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	b, err := backend.Open(ctx, s.target)
	if err != nil {
		return nil, s.failure(err)
	}
	if f, ok := b.(*file.Backend); ok {
		s.files = &lockFiles{Backend: f}
		b = s.files
	}
	client, err := locker.New(b, &locker.Config{TTL: s.target.TTL, Logger: s.target.Logger})
	if err != nil {
		_ = b.Close() // nothing was done with it
		return nil, fail(exitUsage, "%v; change --ttl, or ttl in the backend's URL", reason(err))
	}
	return client, nil
}

// choose sets the target: --backend, else $LOCKER_URL, else lock files. A --ttl
// wins over the URL's.
func (s *store) choose() (err error) {
	origin, url := "--backend", s.url
	if url == "" {
		origin, url = "$LOCKER_URL", os.Getenv("LOCKER_URL")
	}
	if url == "" {
		dir, err := file.DefaultDir()
		if err != nil {
			return fail(exitUsage, "%v; set one of them, or give --backend or $LOCKER_URL", err)
		}
		s.target = backend.Target{Scheme: "file", Path: dir}
	} else if s.target, err = backend.ParseTarget(url); err != nil {
		return fail(exitUsage, "%s: %v", origin, err)
	}
	if s.ttl != 0 {
		s.target.TTL = s.ttl
	}
	if s.target.TTL == 0 {
		s.target.TTL = locker.DefaultTTL
	}
	s.target.Logger = quiet
	if err := checkTarget(s.target); err != nil {
		if s.ttl != 0 {
			origin = "--ttl or " + origin
		}
		return fail(exitUsage, "%s: %v", origin, err)
	}
	return nil
}

// checkTarget finds what the registry would refuse. An unknown scheme it tells
// to a user rather than to a programmer.
func checkTarget(t backend.Target) error {
	schemes := backend.Schemes()
	if slices.ContainsFunc(schemes, func(s backend.Scheme) bool { return s.Name == t.Scheme }) {
		if err := backend.Check(t); err != nil {
			return fmt.Errorf("%s URL: %w", t.Scheme, err)
		}
		return nil
	}
	names := []string{}
	for _, s := range schemes {
		names = append(names, s.Name)
	}
	return fmt.Errorf("unknown scheme %q; known: %s", t.Scheme, strings.Join(names, ", "))
}

// failure is the exit for an error of the store.
func (s *store) failure(err error) error {
	if unanswered(err) {
		return fail(exitUnavailable, "cannot reach %s: %v; check that it runs, and --backend or $LOCKER_URL", s.address(), reason(err))
	}
	return fail(exitUnavailable, "%s refused: %v; check its rights, and --backend or $LOCKER_URL", s.address(), reason(err))
}

func unanswered(err error) bool {
	return errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// address names the store without user, password and parameters.
func (s *store) address() string {
	return s.target.Scheme + "://" + strings.Join(s.target.Hosts, ",") + s.target.Path
}
