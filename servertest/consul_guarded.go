// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"crypto/tls"
	"net/http"
)

// ConsulACL is Consul that denies everything to who has no token. root may do
// everything.
func ConsulACL(root string, flags ...string) Spec {
	spec := Consul(append([]string{
		`-hcl=acl { enabled = true  default_policy = "deny"  tokens { initial_management = "` + root + `"  agent = "` + root + `" } }`,
	}, flags...)...)
	spec.Ready = func(ctx context.Context, addr string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v1/acl/tokens?consistent", nil)
		if err != nil {
			return err
		}
		r.Header.Set("X-Consul-Token", root)
		_, err = do(r)
		return err
	}
	return spec
}

// ConsulTLS is Consul that speaks TLS alone, with cert as its certificate. If
// mutual, it demands a certificate of its clients.
func ConsulTLS(cert Certificate, mutual bool, flags ...string) Spec {
	incoming := "false"
	if mutual {
		incoming = "true"
	}
	spec := Consul(append([]string{
		`-hcl=ports { http = -1  https = 8500 }`,
		`-hcl=tls { https { ca_file = "/tls/ca.crt"  cert_file = "/tls/server.crt"  key_file = "/tls/server.key"  verify_incoming = ` + incoming + ` } }`,
	}, flags...)...)
	spec.Files = map[string]string{"/tls/server.crt": cert.Cert, "/tls/server.key": cert.Key, "/tls/ca.crt": cert.CA}
	spec.Ready = func(ctx context.Context, addr string) error {
		conn, err := (&tls.Dialer{Config: cert.Client()}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return spec
}
