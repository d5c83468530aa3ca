// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"testing"

	"github.com/golocker/locker/conformance"
)

func TestConformance(t *testing.T) {
	store := NewStore()
	conformance.Run(t, conformance.Harness{
		Open: func(testing.TB) conformance.Client {
			return conformance.Client{Backend: store.Backend()}
		},
		Break: func(t testing.TB, name string) {
			if !store.Backend().Break(name) {
				t.Fatalf("nobody holds %q", name)
			}
		},
		Leftovers: func(_ context.Context, name string) (left []string, _ error) {
			store.mu.Lock()
			defer store.mu.Unlock()
			for _, c := range store.names[name] {
				left = append(left, c.Note)
			}
			return left, nil
		},
	})
}
