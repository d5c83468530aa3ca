// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"crypto/tls"
)

// EtcdTLS is Etcd that speaks TLS alone, with cert as its certificate. If
// mutual, it demands a certificate of its clients.
func EtcdTLS(cert Certificate, mutual bool, flags ...string) Spec {
	flags = append([]string{
		"--listen-client-urls", "https://0.0.0.0:2379", "--advertise-client-urls", "https://{addr}",
		"--cert-file", "/tls/server.crt", "--key-file", "/tls/server.key",
	}, flags...)
	if mutual {
		flags = append(flags, "--client-cert-auth", "--trusted-ca-file", "/tls/ca.crt")
	}
	spec := Etcd(flags...)
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
