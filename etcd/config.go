// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"errors"
	"net"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

const (
	openTimeout = 5 * time.Second
	authTimeout = 3 * time.Second // of that, for the first token
)

func (c *Config) check() error {
	if !utf8.ValidString(c.Prefix) {
		return errors.New("etcd: the prefix must be valid UTF-8")
	}
	return nil
}

// settings is what a URL says.
type settings struct {
	Config
	client clientv3.Config
	files  tlsfiles.Files
}

// parse turns a target into settings. It does no I/O.
func parse(t backend.Target) (settings, error) {
	s := settings{Config: Config{Prefix: prefixOf(t.Path), Logger: t.Logger}, client: ownConfig()}
	if err := s.check(); err != nil {
		return settings{}, err
	}
	if (t.User == "") != (t.Password == "") {
		return settings{}, errors.New("a user and a password go together")
	}
	s.client.Username, s.client.Password = t.User, t.Password.Reveal()
	scheme := "http://"
	if t.Scheme == "etcds" {
		scheme = "https://"
		var err error
		if s.files, s.client.TLS, err = tlsfiles.Parse(t.Query); err != nil {
			return settings{}, err
		}
		if name := s.client.TLS.ServerName; name != "" { // gRPC overwrites that with its own authority
			s.client.DialOptions = append(s.client.DialOptions, grpc.WithAuthority(name))
		}
	}
	hosts := t.Hosts
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	for _, host := range hosts {
		s.client.Endpoints = append(s.client.Endpoints, scheme+withPort(host))
	}
	slices.Sort(s.client.Endpoints)
	s.client.Endpoints = slices.Compact(s.client.Endpoints)
	return s, nil
}

// ownConfig is that of clients which Open makes. They notice a dead connection,
// and come back soon after a server does.
func ownConfig() clientv3.Config {
	return clientv3.Config{
		DialTimeout:          authTimeout,
		DialKeepAliveTime:    10 * time.Second, // gRPC's least
		DialKeepAliveTimeout: 5 * time.Second,
		MaxUnaryRetries:      3, // one for a new token; the adapter tries again by itself, and wants to know why
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: openTimeout,
		})},
	}
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "2379")
}
