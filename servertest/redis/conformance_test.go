// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"context"
	"strings"
	"testing"

	driver "github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/servertest"
)

func TestConformance(t *testing.T) {
	const password = "c0nform"
	s := startServer(t, "--requirepass", password)
	encrypted := servertest.Start(t, servertest.RedisTLS(servertest.NewCertificate(t)))
	admin := driver.NewClient(&driver.Options{Addr: s.Addr, Password: password})
	t.Cleanup(func() { _ = admin.Close() })
	refusal := func(rawURL string) func(context.Context) error {
		return func(context.Context) error {
			b, err := tryOpen(rawURL)
			if err == nil {
				_ = b.Close()
			}
			return err
		}
	}

	conformance.Run(t, conformance.Harness{
		Open: func(t testing.TB) conformance.Client { return linked(t, s.Addr, password) },
		URL:  "redis://:" + password + "@" + s.Addr,
		Break: func(t testing.TB, name string) {
			if n, err := admin.Del(bounded(t), backend.Escape(name)).Result(); n != 1 || err != nil {
				t.Errorf("delete %q: %d, %v", name, n, err)
			}
		},
		Leftovers: func(ctx context.Context, name string) (left []string, err error) {
			lock := backend.Escape(name)
			keys, err := admin.Keys(ctx, "*").Result()
			for _, key := range keys {
				what, beside := strings.CutPrefix(key, "{"+lock+"}~~")
				if key == lock || beside && what != "fence" && !strings.HasPrefix(what, "gone:") {
					left = append(left, key)
				}
			}
			return left, err
		},
		Refusals: map[string]func(context.Context) error{
			"wrong password":    refusal("redis://:wr0ng@" + s.Addr),
			"wrong certificate": refusal("rediss://:" + password + "@" + encrypted.Addr),
		},
		Secrets: []string{password, "wr0ng"},
		NewServer: func(t testing.TB) conformance.Server {
			s := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
			return s.Breakable(t, func(t testing.TB) conformance.Client { return linked(t, s.Addr, "") })
		},
	})
}

// linked opens a backend behind a proxy of its own.
func linked(t testing.TB, addr, password string) conformance.Client {
	t.Helper()
	link := servertest.StartLink(t, addr)
	rawURL := "redis://" + link.Addr()
	if password != "" {
		rawURL = "redis://:" + password + "@" + link.Addr()
	}
	b, err := tryOpen(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return conformance.Client{Backend: b, Link: link}
}
