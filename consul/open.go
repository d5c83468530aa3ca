// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

const openTimeout = 5 * time.Second

func init() {
	backend.Register(backend.Scheme{Name: "consul", Params: params, Check: check, Open: open})
	backend.Register(backend.Scheme{Name: "consuls", Params: slices.Concat(params, tlsfiles.Params), Check: check, Open: open})
	backend.Register(backend.Scheme{Name: "consul+unix", Params: append(slices.Clip(params), prefixParam), Check: check, Open: open})
}

func check(t backend.Target) error {
	if _, err := parse(t); err != nil {
		return err
	}
	return (&Backend{}).Info().CheckTTL(t.TTL)
}

// open connects.
func open(ctx context.Context, t backend.Target) (backend.Backend, error) {
	s, err := parse(t)
	if err != nil {
		return nil, err
	}
	if s.tls != nil {
		if err := s.files.Load(s.tls); err != nil {
			return nil, err
		}
	}
	b, err := s.newBackend()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := b.reach(ctx); err != nil {
		_ = b.Close() // the first error is the one to tell
		return nil, fmt.Errorf("%s: %w", s.address, err)
	}
	return b, nil
}

// newBackend makes the two clients of a Backend of its own.
func (s *settings) newBackend() (*Backend, error) {
	// The client would heed these by itself, and transactions would not.
	s.Namespace = cmp.Or(s.Namespace, os.Getenv(api.HTTPNamespaceEnvName))
	s.Partition = cmp.Or(s.Partition, os.Getenv(api.HTTPPartitionEnvName))

	usual, renewals := s.transport(), s.transport()
	renewals.MaxConnsPerHost, renewals.IdleConnTimeout = 2, 0 // the session's, and that of its keys
	client, err := s.client(usual)
	if err != nil {
		return nil, err
	}
	if s.Renewals, err = s.client(renewals); err != nil {
		return nil, err
	}
	b, err := New(client, &s.Config)
	if err != nil {
		return nil, err
	}
	b.idle = func() {
		usual.CloseIdleConnections()
		renewals.CloseIdleConnections()
	}
	return b, nil
}

func (s *settings) client(t *http.Transport) (*api.Client, error) {
	config := &api.Config{Address: s.address, Scheme: "http", Token: s.Token.Reveal(), HttpClient: &http.Client{Transport: t}}
	if s.tls != nil {
		config.Scheme = "https"
	}
	if s.unix {
		config.Address = "localhost" // the transport knows the socket
	}
	return api.NewClient(config)
}

// transport keeps few idle connections, and finds dead ones.
func (s *settings) transport() *http.Transport {
	dialer := &net.Dialer{
		Timeout:         exchangeTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 2},
	}
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: exchangeTimeout,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     90 * time.Second,
	}
	if s.tls != nil {
		t.TLSClientConfig = s.tls.Clone()
	}
	if s.unix {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", s.address)
		}
	}
	return t
}

// reach asks for a key that is not there: whether Consul answers, and lets us
// read.
func (b *Backend) reach(ctx context.Context) error {
	_, err := persist(ctx, func(ctx context.Context) (*api.KVPair, error) {
		return exchange(ctx, b.agent, func(ctx context.Context) (*api.KVPair, error) {
			pair, _, err := b.agent.client.KV().Get(b.keys.probe(), b.agent.query(ctx))
			return pair, err
		})
	}, func() {})
	return err
}
