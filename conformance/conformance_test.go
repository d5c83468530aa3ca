// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"testing"
	"time"
)

// harness of the reference backend, with bugs or without.
func referenceHarness(sessions bool, b ...bug) Harness {
	wrong := bugs{}
	for _, x := range b {
		wrong[x] = true
	}
	s := newStore(wrong)
	return Harness{
		TTL:       2 * time.Second,
		Open:      s.opener(sessions),
		Break:     func(_ testing.TB, name string) { s.breakLock(name) },
		Leftovers: func(_ context.Context, name string) ([]string, error) { return s.leftovers(name), nil },
		Refusals: map[string]func(context.Context) error{
			"wrong password": func(context.Context) error { return errors.New("access denied") },
		},
		NewServer: func(testing.TB) Server {
			own := newStore(wrong)
			return Server{
				Open: own.opener(sessions), Pause: own.pause,
				Restart: func() { own.restart(true) }, Wipe: func() { own.restart(false) },
			}
		},
	}
}

func (s *store) opener(sessions bool) func(testing.TB) Client {
	return func(testing.TB) Client {
		r, l := newReference(s, sessions)
		return Client{r, l}
	}
}

// TestReference shows that a correct backend passes, with a session for all its
// requests and with one for each, and where it has to be polled.
func TestReference(t *testing.T) {
	t.Parallel()
	for name, harness := range map[string]Harness{
		"Requests": referenceHarness(false),
		"Sessions": referenceHarness(true),
		"Polling":  referenceHarness(true, polling),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Run(t, harness)
		})
	}
}
