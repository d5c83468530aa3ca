// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcd_test tests the etcd adapter against real servers.
package etcd_test

import (
	"os"
	"testing"

	"github.com/golocker/locker/conformance"
	_ "github.com/golocker/locker/etcd"
)

func TestMain(m *testing.M) {
	conformance.Child()
	os.Exit(m.Run())
}
