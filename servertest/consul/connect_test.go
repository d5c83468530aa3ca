// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest"
)

func file(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return url.QueryEscape(path)
}

// works locks, waits, hands over, renews and unlocks.
func works(t testing.TB, a, b backend.Backend) {
	t.Helper()
	g := lock(t, a, request("n"))
	p := queue(t, b, request("n"))
	if err := renew(t, a, g); err != nil {
		t.Error(err)
	}
	unlock(t, a, g)
	next := p.Granted(t, 10*time.Second)
	if next.Token <= g.Token {
		t.Errorf("token %d after %d", next.Token, g.Token)
	}
	unlock(t, b, next)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for name, mutual := range map[string]bool{"TLS": false, "mTLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cert, strangers := servertest.NewCertificate(t), servertest.NewCertificate(t)
			server := own(t, servertest.ConsulTLS(cert, mutual))
			host := "consuls://" + server.Addr + "/tls"
			ca := "ca=" + file(t, "ca.crt", cert.CA)
			pair := "&cert=" + file(t, "c.crt", cert.Cert) + "&key=" + file(t, "c.key", cert.Key)
			good := host + "?" + ca
			bad := map[string]string{ // URL → what the error says
				"consul://" + server.Addr: "HTTPS",
				host:                      "certificate",
				host + "?ca=" + file(t, "other.crt", strangers.CA) + pair: "certificate",
				host + "?" + ca + pair + "&server_name=example.com":       "example.com",
			}
			if mutual {
				bad[good] = "certificate"
				good += pair
			}
			works(t, openURL(t, good), openURL(t, good))
			works(t, openURL(t, good+"&server_name=localhost"), openURL(t, good))
			for u, says := range bad {
				err := refused(bounded(t), u)
				if err == nil || errors.Is(err, locker.ErrLocked) || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: %v", u, err)
				}
			}
		})
	}
}

// The agent's own socket.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	server := own(t, servertest.Consul(`-hcl=addresses { http = "0.0.0.0 unix:///consul/data/http.sock" }`))
	u := "consul+unix://" + server.Root(t) + "/consul/data/http.sock?prefix=unix"
	works(t, openURL(t, u), openURL(t, "consul://"+server.Addr+"/unix"))
	works(t, openURL(t, "consul://"+server.Addr+"/unix"), openURL(t, u))
	if err := refused(bounded(t), "consul+unix:///nowhere.sock"); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "/nowhere.sock") {
		t.Errorf("no socket: %v", err)
	}
}

// A token needs the rights that the package's doc names, and no others; with
// less, or an unknown one, the error says so at once and shows no token.
func TestRights(t *testing.T) {
	t.Parallel()
	server := startGuarded(t, own)
	admin := native(t, server.Addr, func(c *api.Config) { c.Token = rootToken })
	u := "consul://:" + appToken + "@" + server.Addr + "/app"
	works(t, openURL(t, u), openURL(t, u))
	b := openURL(t, u)
	g := lock(t, b, request("n"))
	if state, err := b.Inspect(bounded(t), "n"); err != nil || !state.Held || state.Token != g.Token {
		t.Errorf("Inspect: %+v, %v", state, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if left := keys(t, admin, "app/"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	for name, less := range map[string]struct{ token, rules, says string }{
		"no session": {"dddddddd-0000-0000-0000-000000000001", `key_prefix "app/" { policy = "write" } # %s`, "session:write"},
		"other node": {"dddddddd-0000-0000-0000-000000000002", `key_prefix "app/" { policy = "write" } session "x%s" { policy = "write" }`, "session:write"},
		"read only":  {"dddddddd-0000-0000-0000-000000000003", `key_prefix "app/" { policy = "read" } session "%s" { policy = "write" }`, "key:write"},
		"other keys": {"dddddddd-0000-0000-0000-000000000004", `key_prefix "apps/" { policy = "write" } session "%s" { policy = "write" }`, "key:read"},
		"unknown":    {otherToken, "", "ACL not found"},
	} {
		if less.rules != "" {
			grant(t, admin, less.token, less.rules)
		}
		err := refused(bounded(t), "consul://:"+less.token+"@"+server.Addr+"/app")
		if err == nil || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), less.says) || strings.Contains(err.Error(), less.token) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A token that is deleted under a holder ends the lease by its deadline, though
// every request is answered.
func TestTokenDeleted(t *testing.T) {
	t.Parallel()
	server := startGuarded(t, own)
	admin := native(t, server.Addr, func(c *api.Config) { c.Token = rootToken })
	c, err := locker.Open(bounded(t), "consul://:"+appToken+"@"+server.Addr+"/app", &locker.Config{TTL: short})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	lease, err := c.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	tokens, _, err := admin.ACL().TokenList(query(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if token.SecretID == appToken {
			if _, err := admin.ACL().TokenDelete(token.AccessorID, write(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	within(t, short, "Renew says why it fails", func() bool {
		err := c.Renew(bounded(t), lease)
		return err != nil && strings.Contains(err.Error(), "ACL not found") && !strings.Contains(err.Error(), appToken) && !errors.Is(err, locker.ErrLost)
	})
	select {
	case <-lease.Context().Done():
	case <-time.After(short + 2*time.Second):
		t.Fatal("the lease goes on without a token")
	}
	if err := lease.Err(); !errors.Is(err, locker.ErrLost) || strings.Contains(err.Error(), appToken) {
		t.Errorf("Err: %v", err)
	}
}

// Without one in the URL, the token is that of the environment.
func TestTokenOfTheEnvironment(t *testing.T) {
	server := startGuarded(t, own)
	t.Setenv(api.HTTPTokenEnvName, appToken)
	u := "consul://" + server.Addr + "/app"
	works(t, openURL(t, u), openURL(t, u))
	err := refused(bounded(t), "consul://:"+otherToken+"@"+server.Addr+"/app")
	if err == nil || !strings.Contains(err.Error(), "ACL not found") {
		t.Errorf("the URL's token: %v", err)
	}
}

// What is wrong with a connection is said.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	port, err := servertest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + strconv.Itoa(port)
	err = refused(bounded(t), "consul://:"+appToken+"@"+addr)
	if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), appToken) {
		t.Errorf("nobody listens: %v", err)
	}
	server := shared(t)
	if err := refused(bounded(t), "consul://"+server.Addr+"/app?dc=nowhere"); err == nil || !strings.Contains(err.Error(), "datacenter") {
		t.Errorf("an unknown datacenter: %v", err)
	}
	if err := refused(bounded(t), "consul://"+server.Addr+"/app?namespace=team"); err == nil || !strings.Contains(err.Error(), "Enterprise") {
		t.Errorf("a namespace in the free edition: %v", err)
	}
	works(t, openURL(t, "consul://"+server.Addr+"/dc?dc=dc1"), openURL(t, "consul://"+server.Addr+"/dc"))
}

// The bounds of the TTL are Consul's, and a server with a larger least one says
// so at once.
func TestTTLBounds(t *testing.T) {
	t.Parallel()
	for _, ttl := range []string{"9999ms", "24h1s"} {
		_, err := locker.Open(bounded(t), "consul://127.0.0.1:1?ttl="+ttl, nil)
		if err == nil || !strings.Contains(err.Error(), "from 10s to 24h0m0s") {
			t.Errorf("ttl=%s: %v", ttl, err)
		}
	}
	server := own(t, servertest.Consul("-hcl=session_ttl_min = \"20s\""))
	err := refused(bounded(t), "consul://"+server.Addr)
	if err == nil || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "Invalid Session TTL") || !strings.Contains(err.Error(), "20s") {
		t.Errorf("a TTL below the server's session_ttl_min: %v", err)
	}
}

// The application's client stays usable, and Inspect tells a holder's note.
func TestReadyMadeClient(t *testing.T) {
	t.Parallel()
	c := native(t, shared(t).Addr)
	b := newBackend(t, c, consul.Config{Prefix: prefix(t), Renewals: native(t, shared(t).Addr)})
	req := request("n")
	req.Note = "somebody"
	g := lock(t, b, req)
	queue(t, b, request("n"))
	if state, err := b.Inspect(bounded(t), "n"); err != nil || !state.Held || state.Note != "somebody" || state.Token != g.Token || state.Waiters != 1 {
		t.Errorf("%+v %v", state, err)
	}
	if state, err := b.Inspect(bounded(t), "free"); err != nil || state.Held {
		t.Errorf("%+v %v", state, err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, c, prefix(t)); len(left) != 0 {
		t.Errorf("left after Close: %q", left)
	}
	if _, err := b.Lock(bounded(t), request("n")); err == nil || errors.Is(err, backend.ErrLost) {
		t.Errorf("Lock after Close: %v", err)
	}
	if _, err := consul.New(nil, nil); err == nil {
		t.Error("New accepts no client")
	}
	if _, err := consul.New(c, &consul.Config{Prefix: "/a"}); err == nil {
		t.Error("New accepts a prefix that Consul takes for another")
	}
}

// Renewals go by the client that is made for them.
func TestRenewalsClient(t *testing.T) {
	t.Parallel()
	server := shared(t)
	usualTap, renewalTap := newTap(t), newTap(t)
	b := newBackend(t, native(t, server.Addr, usualTap.use), consul.Config{Prefix: prefix(t), Renewals: native(t, server.Addr, renewalTap.use)})
	g := lock(t, b, request("n"))
	if err := renew(t, b, g); err != nil {
		t.Error(err)
	}
	if n, m := usualTap.count()[keep]+usualTap.count()[look], renewalTap.count()[keep]; n != 0 || m == 0 {
		t.Errorf("%d renewals by the client, %d by that for renewals", n, m)
	}
	unlock(t, b, g)
}

// Who does not see its own key may not see those before it: that is a refusal,
// and what was stored is withdrawn.
func TestHiddenKey(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	b, tap := tapped(t, server)
	tap.set(func(kind string, r *http.Request, send sender) (*http.Response, error) {
		response, err := send(r.Context())
		if kind == enqueue && err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			response = answer(r, http.StatusOK, `{"Results":[],"Errors":null}`)
		}
		return response, err
	})
	g, err := b.Lock(bounded(t), request("n"))
	if g == nil || err == nil || errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "not read it") {
		t.Fatalf("%v, %v", g, err)
	}
	if err := b.Withdraw(bounded(t), g); err != nil {
		t.Fatal(err)
	}
	if left := keys(t, admin, fmt.Sprint(prefix(t), "n/")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}
