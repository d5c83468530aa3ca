// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/golocker/locker/backend"
)

// Inspect tells who holds a lock and how many wait for it. The value of a
// foreign holder is not shown.
func (b *Backend) Inspect(ctx context.Context, name string) (backend.State, error) {
	keys := keysOf(b.cfg.Prefix, backend.Escape(name))
	c := newCall(ctx, inspectScript, []string{keys.lock, keys.waiters})
	if err := b.call(ctx, c); err != nil {
		return backend.State{}, unavailable(err)
	}
	fields, err := c.Slice()
	if err != nil || len(fields) != 2 {
		return backend.State{}, errors.New("redis answered a script in an unknown form")
	}
	var state backend.State
	if value, held := fields[0].(string); held {
		state = stateOf(value)
	}
	state.Waiters = int(integer(fields[1]))
	return state, nil
}

// stateOf reads a lock's value: "locker:<owner> <token> <note>". The token is
// the time of the grant in µs, or larger if the server's clock was set back.
func stateOf(value string) backend.State {
	state := backend.State{Held: true}
	rest, ours := strings.CutPrefix(value, "locker:")
	_, rest, ok := strings.Cut(rest, " ")
	if !ours || !ok {
		return state
	}
	token, note, _ := strings.Cut(rest, " ")
	state.Token, state.Note = integer(token), note
	state.Since = time.UnixMicro(state.Token)
	return state
}
