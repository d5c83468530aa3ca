// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"errors"
	"testing"
)

// A pause is tried again if the engine could not stop every process in time, and
// for no other error.
func TestFreeze(t *testing.T) {
	t.Parallel()
	slow := errors.New("OCI runtime pause failed: unable to freeze: unknown")
	running := errors.New("container is not running")
	ended, end := context.WithCancel(t.Context())
	end()
	for name, c := range map[string]struct {
		ctx     context.Context
		answers []error
		want    error
	}{
		"At once":   {t.Context(), []error{nil}, nil},
		"Again":     {t.Context(), []error{slow, slow, nil}, nil},
		"Not again": {t.Context(), []error{slow, running}, running},
		"Too long":  {ended, []error{slow}, slow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			err := freeze(c.ctx, func() error { asked++; return c.answers[asked-1] })
			if !errors.Is(err, c.want) || asked != len(c.answers) {
				t.Errorf("%v after %d attempts, want %v after %d", err, asked, c.want, len(c.answers))
			}
		})
	}
}
