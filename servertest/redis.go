// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
)

const redisPort = 6379

// Redis is one Redis server that keeps nothing on disk: a restart empties it.
// Further directives are written as on its command line:
//
//	Redis("--requirepass", "secret", "--maxmemory-policy", "volatile-lru")
//	Redis("--user", "app", "on", ">secret", "~*", "&*", "+@all")
//	Redis("--appendonly", "yes", "--appendfsync", "always") // survives a kill
func Redis(directives ...string) Spec {
	return Spec{
		Server: "redis",
		Port:   redisPort,
		Cmd:    append([]string{"redis-server", "--protected-mode", "no", "--save", ""}, directives...),
		Ready:  func(ctx context.Context, addr string) error { return pingRedis(ctx, &net.Dialer{}, addr) },
		EndSessions: func(t testing.TB, s *Server) {
			for _, kind := range []string{"normal", "pubsub"} {
				s.Exec(t, "redis-cli", "-p", strconv.Itoa(s.spec.Port), "client", "kill", "type", kind)
			}
		},
	}
}

// RedisTLS is Redis that speaks TLS alone, with cert as its certificate. It
// accepts clients without a certificate, and checks that of those who show one.
func RedisTLS(cert Certificate, directives ...string) Spec {
	spec := Redis(append([]string{
		"--port", "0", "--tls-port", fmt.Sprint(redisPort), "--tls-auth-clients", "optional",
		"--tls-cert-file", "/tls/server.crt", "--tls-key-file", "/tls/server.key", "--tls-ca-cert-file", "/tls/ca.crt",
	}, directives...)...)
	spec.Files = map[string]string{"/tls/server.crt": cert.Cert, "/tls/server.key": cert.Key, "/tls/ca.crt": cert.CA}
	spec.Ready = func(ctx context.Context, addr string) error {
		return pingRedis(ctx, &tls.Dialer{Config: cert.Client()}, addr)
	}
	return spec
}

type dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// pingRedis takes a demand for a password for an answer.
func pingRedis(ctx context.Context, d dialer, addr string) error {
	answer, err := ask(ctx, d, addr, "PING\r\n")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "+PONG") && !strings.HasPrefix(answer, "-NOAUTH") {
		return fmt.Errorf("it answers %q to PING", answer)
	}
	return nil
}
