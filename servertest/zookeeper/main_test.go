// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package zookeeper_test tests the ZooKeeper adapter against real servers.
package zookeeper_test

import (
	"os"
	"testing"

	"github.com/golocker/locker/conformance"
	_ "github.com/golocker/locker/zookeeper"
)

func TestMain(m *testing.M) {
	conformance.Child()
	os.Exit(m.Run())
}
