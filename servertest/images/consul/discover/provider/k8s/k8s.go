// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package k8s names the one provider that Consul adds to the list by hand.
package k8s

import (
	"errors"
	"log"
)

// Provider knows no addresses.
type Provider struct{}

// Addrs always fails.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("discover: this build knows no cloud")
}

// Help is empty.
func (*Provider) Help() string { return "" }
