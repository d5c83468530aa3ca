// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"testing"

	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/memory"
)

// The whole test of a backend. One that other processes can open has a URL as
// well, and a TestMain that calls Child first.
func ExampleRun() {
	TestConformance := func(t *testing.T) {
		store := memory.NewStore()
		conformance.Run(t, conformance.Harness{
			// A client as another process has it. Link is the proxy between
			// this client and the store, if there is one.
			Open: func(testing.TB) conformance.Client {
				return conformance.Client{Backend: store.Backend(), Link: nil}
			},
			// The administrator's hand.
			Break: func(t testing.TB, name string) {
				if !store.Backend().Break(name) {
					t.Fatalf("nobody holds %q", name)
				}
			},
		})
	}
	_ = TestConformance
}
