// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"
	"testing"

	"github.com/golocker/locker/conformance"
)

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	conformance.Run(t, conformance.Harness{
		Open: func(t testing.TB) conformance.Client {
			b, err := New(dir)
			if err != nil {
				t.Fatal(err)
			}
			return conformance.Client{Backend: b}
		},
		URL: "file://" + dir,
		Break: func(t testing.TB, name string) {
			b, err := New(dir)
			if err == nil {
				err = os.Remove(b.Path(name))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
	})
}
