// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package consul_test tests the Consul adapter against real servers.
package consul_test

import (
	"os"
	"testing"

	"github.com/golocker/locker/conformance"
	_ "github.com/golocker/locker/consul"
)

func TestMain(m *testing.M) {
	conformance.Child()
	os.Exit(m.Run())
}
