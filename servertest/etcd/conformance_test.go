// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/servertest"
)

const secret = "correct-horse-battery"

func TestConformance(t *testing.T) {
	server := servertest.Start(t, servertest.Etcd())
	admin := native(t, server.Addr)
	guarded := startGuarded(t)
	conformance.Run(t, conformance.Harness{
		Parallel: 12, // gRPC, the race detector and a TTL of 2 s: more starve each other on two cores
		Open:     opener(server),
		URL:      "etcd://" + server.Addr + "/conformance",
		Break: func(t testing.TB, name string) {
			keys, err := admin.Get(bounded(t), directory(name), clientv3.WithFirstCreate()...)
			if err != nil || len(keys.Kvs) == 0 {
				t.Fatalf("nobody holds %q: %v", name, err)
			}
			remove(t, admin, string(keys.Kvs[0].Key))
		},
		Leftovers: func(ctx context.Context, name string) ([]string, error) {
			return keysUnder(ctx, admin, directory(name))
		},
		Refusals: map[string]func(context.Context) error{
			"wrong password": func(ctx context.Context) error {
				return refused(ctx, "etcd://app:"+secret+"x@"+guarded.Addr)
			},
			"no password": func(ctx context.Context) error { return refused(ctx, "etcd://"+guarded.Addr) },
			"no right":    func(ctx context.Context) error { return refused(ctx, "etcd://app:"+secret+"@"+guarded.Addr+"/others") },
			"no TLS":      func(ctx context.Context) error { return refused(ctx, "etcds://"+server.Addr) },
		},
		Secrets: []string{secret},
		NewServer: func(t testing.TB) conformance.Server {
			own := servertest.Start(t, servertest.Etcd())
			return own.Breakable(t, opener(own))
		},
	})
}

// opener opens clients with a proxy each.
func opener(server *servertest.Server) func(testing.TB) conformance.Client {
	return func(t testing.TB) conformance.Client {
		link := servertest.StartLink(t, server.Addr)
		return conformance.Client{Backend: openURL(t, "etcd://"+link.Addr()+"/conformance"), Link: link}
	}
}

func directory(name string) string { return "conformance/" + backend.Escape(name) + "/" }

// refused opens a URL, and locks.
func refused(ctx context.Context, rawURL string) error {
	c, err := locker.Open(ctx, rawURL, &locker.Config{TTL: 2 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Lock(ctx, "refused", locker.NoWait())
	return err
}
