// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A session that has passed its deadline takes and grants nothing, though nobody
// has noticed: its process stood still.
func TestUnnoticedDeadline(t *testing.T) {
	const ttl = 10 * time.Second
	for name, use := range map[string]func(b *Backend, s *session, g *backend.Grant) error{
		"present": func(b *Backend, s *session, _ *backend.Grant) error {
			if now, err := b.present(ttl); err != nil || now == s {
				return err
			}
			return backend.ErrLost
		},
		"add":   func(_ *Backend, s *session, g *backend.Grant) error { return s.add(g) },
		"grant": func(_ *Backend, s *session, g *backend.Grant) error { _, err := s.grant(g); return err },
	} {
		t.Run(name, func(t *testing.T) {
			b, err := New(Config{Servers: []string{"a"}, Dialer: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("there is no network")
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			s := newSession(b, ttl)
			b.current = s
			g := &backend.Grant{Group: s, Sys: &hold{session: s}}
			s.until = backend.Now().Add(ttl)
			if err := use(b, s, g); err != nil {
				t.Errorf("at first: %v", err)
			}
			s.until = backend.Now().Add(backend.Margin(ttl))
			if err := use(b, s, g); !errors.Is(err, backend.ErrLost) {
				t.Errorf("past the deadline: %v, want ErrLost", err)
			}
			if s.life.Err() == nil {
				t.Error("it lives on")
			}
		})
	}
}
