// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/servertest"
)

func TestConformance(t *testing.T) {
	server := servertest.Start(t, roomy())
	admin := native(t, server.Addr)
	guarded := startGuarded(t, servertest.Start)
	conformance.Run(t, conformance.Harness{
		Parallel: 32, // most wait for a TTL of 10 s to pass; more at once leave the server no time to answer
		Open:     opener(server),
		URL:      "consul://" + server.Addr + "/conformance?max_waiting=200",
		Break: func(t testing.TB, name string) {
			list := keys(t, admin, directory(name))
			if len(list) == 0 {
				t.Fatalf("nobody holds %q", name)
			}
			remove(t, admin, list[0])
		},
		Leftovers: func(ctx context.Context, name string) ([]string, error) {
			return keysUnder(ctx, admin, directory(name))
		},
		Refusals: map[string]func(context.Context) error{
			"wrong token": func(ctx context.Context) error {
				return refused(ctx, "consul://:"+otherToken+"@"+guarded.Addr+"/app")
			},
			"no token": func(ctx context.Context) error { return refused(ctx, "consul://"+guarded.Addr+"/app") },
			"no right": func(ctx context.Context) error {
				return refused(ctx, "consul://:"+appToken+"@"+guarded.Addr+"/others")
			},
			"no TLS": func(ctx context.Context) error { return refused(ctx, "consuls://"+server.Addr) },
		},
		Secrets: []string{appToken, otherToken},
		NewServer: func(t testing.TB) conformance.Server {
			own := servertest.Start(t, servertest.Consul())
			return own.Breakable(t, opener(own))
		},
	})
}

// roomy is a server for more clients than an agent commonly has: the suite
// opens hundreds, from one address.
func roomy() servertest.Spec {
	return servertest.Consul("-hcl=limits { http_max_conns_per_client = 5000 }")
}

// opener opens clients with a proxy each.
func opener(server *servertest.Server) func(testing.TB) conformance.Client {
	return func(t testing.TB) conformance.Client {
		link := servertest.StartLink(t, server.Addr)
		return conformance.Client{Backend: openURL(t, "consul://"+link.Addr()+"/conformance?max_waiting=200"), Link: link}
	}
}

func directory(name string) string { return "conformance/" + backend.Escape(name) + "/" }

// refused opens a URL, and locks.
func refused(ctx context.Context, rawURL string) error {
	c, err := locker.Open(ctx, rawURL, &locker.Config{TTL: short})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Lock(ctx, "refused", locker.NoWait())
	return err
}

// A guarded server knows two tokens of a test's own.
const (
	rootToken  = "11111111-2222-3333-4444-555555555555"
	appToken   = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	otherToken = "99999999-8888-7777-6666-555555555555" // unknown
)

// appRules returns the rules that the package's doc asks for, and no others, with
// %s for the agent's node.
func appRules(t testing.TB) string {
	t.Helper()
	source, err := os.ReadFile("../../consul/consul.go")
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for line := range strings.Lines(string(source)) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "//"))
		if strings.HasSuffix(line, "}") && strings.Contains(line, "{ policy =") {
			rules = append(rules, line)
		}
	}
	if len(rules) != 2 {
		t.Fatalf("the package's doc names the rules %q", rules)
	}
	return strings.Replace(strings.Join(rules, "\n"), `session "node"`, `session "%s"`, 1)
}

// startGuarded starts a server with ACLs, where appToken has the appRules.
func startGuarded(t testing.TB, start func(testing.TB, servertest.Spec) *servertest.Server) *servertest.Server {
	t.Helper()
	server := start(t, servertest.ConsulACL(rootToken))
	admin := native(t, server.Addr, func(c *api.Config) { c.Token = rootToken })
	grant(t, admin, appToken, appRules(t))
	return server
}
