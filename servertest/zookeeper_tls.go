// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"crypto/tls"
	"fmt"
)

// ZooKeeperTLS is ZooKeeper that speaks TLS alone, with cert as its certificate.
// If mutual, it demands a certificate of its clients.
func ZooKeeperTLS(cert Certificate, mutual bool, settings ...string) Spec {
	const port = 2281
	auth := "none"
	if mutual {
		auth = "need"
	}
	spec := ZooKeeper(append([]string{
		fmt.Sprint("secureClientPort=", port), "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
		"ssl.keyStore.location=/tls/server.pem", "ssl.keyStore.type=PEM",
		"ssl.trustStore.location=/tls/ca.pem", "ssl.trustStore.type=PEM",
		"ssl.clientAuth=" + auth,
	}, settings...)...)
	spec.Port = port
	spec.Files = map[string]string{"/tls/server.pem": cert.Cert + cert.Key, "/tls/ca.pem": cert.CA}
	spec.Ready = func(ctx context.Context, addr string) error {
		conn, err := (&tls.Dialer{Config: cert.Client()}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return spec
}
