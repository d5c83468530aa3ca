// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package discover stands in for Consul's cloud auto-join. A server in a test
// never looks itself up in a cloud, and without the SDKs of thirteen clouds
// Consul compiles in two thirds of the time.
package discover

import (
	"errors"
	"log"
)

// Provider looks addresses up in one cloud.
type Provider interface {
	Addrs(args map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers is empty: no cloud is known.
var Providers = map[string]Provider{}

// Discover knows no addresses.
type Discover struct{}

// Option is accepted and has no effect.
type Option func(*Discover)

// New never fails.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithUserAgent has no effect.
func WithUserAgent(string) Option { return nil }

// WithProviders has no effect.
func WithProviders(map[string]Provider) Option { return nil }

// Addrs always fails.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errors.New("discover: this build knows no cloud")
}

// Names is empty.
func (*Discover) Names() []string { return nil }
