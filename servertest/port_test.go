// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest_test

import (
	"testing"

	"github.com/golocker/locker/servertest"
)

func TestFreePortIsNeverTheSame(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 500 {
		port, err := servertest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if seen[port] {
			t.Fatalf("port %d came twice", port)
		}
		seen[port] = true
	}
}
