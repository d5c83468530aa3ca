// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package tlsfiles is the one set of words for TLS in a backend's URL: ca, cert,
// key and server_name.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/golocker/locker/backend"
)

// Params are the parameters that Parse reads.
var Params = []backend.Param{
	{Name: "ca", Help: "file with the certificates that sign the server's (default: the system's)"},
	{Name: "cert", Help: "file with the client's certificate"},
	{Name: "key", Help: "file with the client certificate's key"},
	{Name: "server_name", Help: "the name that the server's certificate must have (default: the host)"},
}

// Files name the certificates; empty ones are not given.
type Files struct{ CA, Cert, Key string }

// Parse takes the files and a configuration without them from a URL's query. It
// does no I/O.
func Parse(query url.Values) (Files, *tls.Config, error) {
	f := Files{CA: query.Get("ca"), Cert: query.Get("cert"), Key: query.Get("key")}
	if (f.Cert == "") != (f.Key == "") {
		return Files{}, nil, errors.New("parameters cert and key go together")
	}
	return f, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: query.Get("server_name")}, nil
}

// Load reads the files into config.
func (f Files) Load(config *tls.Config) error {
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return fmt.Errorf("parameter ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("parameter ca: no certificate in %s", f.CA)
		}
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return fmt.Errorf("parameters cert and key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return nil
}
