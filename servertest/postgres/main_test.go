// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package postgres_test tests the Postgres adapter against real servers.
package postgres_test

import (
	"os"
	"testing"

	"github.com/golocker/locker/conformance"
	_ "github.com/golocker/locker/postgres"
)

func TestMain(m *testing.M) {
	conformance.Child()
	os.Exit(m.Run())
}
