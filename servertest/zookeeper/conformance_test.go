// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/servertest"
)

const secret = "correct-horse-battery"

func TestConformance(t *testing.T) {
	server := servertest.Start(t, servertest.ZooKeeper())
	admin := native(t, server.Addr)
	guarded(t, server.Addr, "/guarded")
	conformance.Run(t, conformance.Harness{
		TTL:      3 * time.Second, // of which a session has half, since heartbeats count late (Z2)
		Parallel: 12,              // the race detector and a JVM: more starve each other on two cores
		Open:     opener(server),
		URL:      "zk://" + server.Addr + "/conformance?tick=500ms&ttl=3s",
		Break: func(t testing.TB, name string) {
			nodes := contenders(t, admin, container(name))
			if len(nodes) == 0 {
				t.Fatalf("nobody holds %q", name)
			}
			remove(t, admin, nodes[0])
		},
		// The container itself is ZooKeeper's to remove.
		Leftovers: func(_ context.Context, name string) ([]string, error) { return children(admin, container(name)) },
		Refusals: map[string]func(context.Context) error{
			"wrong password": func(ctx context.Context) error {
				return refused(ctx, "zk://app:"+secret+"x@"+server.Addr+"/guarded?tick=500ms")
			},
			"no password": func(ctx context.Context) error { return refused(ctx, "zk://"+server.Addr+"/guarded?tick=500ms") },
			"no TLS":      func(ctx context.Context) error { return refused(ctx, "zks://"+server.Addr+"?tick=500ms") },
			"TTL":         func(ctx context.Context) error { return refused(ctx, "zk://"+server.Addr+"?tick=500ms&ttl=11s") },
		},
		Secrets: []string{secret},
		NewServer: func(t testing.TB) conformance.Server {
			own := servertest.Start(t, servertest.ZooKeeper())
			return own.Breakable(t, opener(own))
		},
	})
}

// opener opens clients with a proxy each.
func opener(server *servertest.Server) func(testing.TB) conformance.Client {
	return func(t testing.TB) conformance.Client {
		link := servertest.StartLink(t, server.Addr)
		return conformance.Client{Backend: openURL(t, "zk://"+link.Addr()+"/conformance?tick=500ms&ttl=3s"), Link: link}
	}
}

func container(name string) string { return "/conformance/" + backend.Escape(name) }

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
