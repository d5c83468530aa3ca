// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"strconv"

	"github.com/golocker/locker/backend"
)

// Inspect tells whether a lock is held, and how many sessions of the server
// wait for it: one for each process that waits. An advisory lock has no place
// for a note and a token: they are told of what this Backend holds itself.
func (b *Backend) Inspect(ctx context.Context, name string) (backend.State, error) {
	key := b.cfg.key(name)
	rows, err := b.inspect(ctx, inspectSQL(key))
	if err != nil {
		return backend.State{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return backend.State{}, errors.New("the server answered in an unknown form")
	}
	holders, err1 := strconv.Atoi(rows[0][0])
	waiters, err2 := strconv.Atoi(rows[0][1])
	state := backend.State{Held: holders > 0, Waiters: waiters}
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.gates[key]; state.Held && g != nil && g.hold != nil && g.hold.state == held {
		state.Note, state.Token = g.hold.note, g.hold.token
	}
	return state, errors.Join(err1, err2)
}

// inspect asks by the shared session, or, before the first Lock has said what
// its TTL is, by a connection of its own.
func (b *Backend) inspect(ctx context.Context, sql string) ([][]string, error) {
	b.mu.Lock()
	ttl := b.ttl
	b.mu.Unlock()
	if ttl == 0 {
		conn, err := b.connect(ctx)
		if err != nil {
			return nil, connectError(err)
		}
		defer func() { _ = conn.Close(ctx) }() // it was only asked
		answers, err := ask(ctx, conn, sql)
		if err != nil {
			return nil, setUpError(err)
		}
		return answers[0], nil
	}
	s, err := b.shared(ctx, ttl)
	if err != nil {
		return nil, err
	}
	o := query(sql)
	if err := s.do(ctx, o); err != nil {
		return nil, err
	}
	rows := make([][]string, len(o.rows))
	for i, row := range o.rows {
		for _, v := range row {
			rows[i] = append(rows[i], *v)
		}
	}
	return rows, nil
}
