// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

// A hold is what the adapter remembers of a request, in Grant.Sys.
type hold struct {
	session *session
	key     string
}

// errHidden is a refusal: who does not see its own key may miss those before it.
var errHidden = errors.New("consul does not show the key that was just stored: the token may write it, but not read it")

// Lock enqueues a contender, and waits for the one before it to be gone.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	s, err := b.session(ctx, req.TTL)
	if err != nil {
		return nil, err
	}
	req.TTL = s.TTL()
	g := &backend.Grant{Request: req, Group: s, Sys: &hold{session: s, key: b.keys.contender(req.Name, req.Owner)}}
	if err := s.Add(req); err != nil {
		return nil, err
	}
	linger, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	before, err := s.enqueue(linger, g)
	if err != nil {
		if s.Doubted(req.Owner) {
			return g, err
		}
		s.Drop(req.Owner)
		return nil, err
	}
	if before != nil {
		if req.NoWait {
			return s.retreat(linger, g, backend.ErrLocked)
		}
		place, err := b.lines.join(req.Name, g.Token)
		if err != nil {
			return s.retreat(linger, g, err)
		}
		defer place.leave()
		if req.Queued != nil {
			req.Queued()
		}
		if err := s.waitTurn(ctx, linger, g, place, before); err != nil {
			return g, err
		}
	}
	if g.Until, err = s.Grant(req.Owner); err != nil {
		return g, err
	}
	return g, nil
}

// enqueue stores the contender's key and returns who is before it, or nil. A
// request that is sent again finds its own key, with the index of its creation.
func (s *session) enqueue(ctx context.Context, g *backend.Grant) (before *api.KVPair, err error) {
	h := g.Sys.(*hold)
	answer, err := persist(ctx, func(ctx context.Context) (api.TxnResponse, error) {
		return s.b.agent.txn(ctx,
			api.KVTxnOp{Verb: api.KVCheckNotExists, Key: s.b.keys.tombstone(g.Owner)},
			api.KVTxnOp{Verb: api.KVLock, Key: h.key, Session: s.id, Value: []byte(g.Note), Flags: contenderFlags},
			api.KVTxnOp{Verb: api.KVGetTree, Key: s.b.keys.directory(g.Name)},
		)
	}, func() { s.Doubt(g.Owner) })
	if err != nil {
		return nil, err
	}
	if len(answer.Errors) > 0 {
		return nil, s.rolledBack(answer.Errors)
	}
	var list []*api.KVPair
	for _, result := range answer.Results[min(1, len(answer.Results)):] { // the first is of the lock
		list = append(list, result.KV)
	}
	own, before := find(list, h.key, s.id)
	if own == nil {
		s.Doubt(g.Owner) // it is to be withdrawn
		return nil, errHidden
	}
	g.Token = int64(own.CreateIndex)
	return before, nil
}

// waitTurn returns when no contender is before g. It outlives outages, but not
// ctx and not the session (SPI-wait).
func (s *session) waitTurn(ctx, linger context.Context, g *backend.Grant, p *place, before *api.KVPair) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.Life(), func() { cancel(context.Cause(s.Life())) })()

	for wait := sessions.FirstPause; ; {
		turn, err := p.turn(ctx)
		if err != nil {
			return err
		}
		began := backend.Now()
		unknown := s.b.awaitChange(turn, before, g.TTL)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case turn.Err() != nil: // another has come before it
			continue
		case backend.Now().Sub(began) > g.TTL/3: // what was wrong is long ago
			wait = sessions.FirstPause
		}
		next, err := s.look(ctx, linger, g)
		switch {
		case err != nil:
			return err
		case next == nil:
			return nil
		case unknown != nil || next.Key == before.Key: // the query failed, or the list lags
			sessions.Pause(ctx, wait)
			wait = min(2*wait, g.TTL/3)
		default:
			wait = sessions.FirstPause
		}
		before = next
	}
}

// look asks who is before g, or nil, until it is answered or ctx ends. A blocking
// query follows none but such an answer: the index of an older one may be that of
// a store that a snapshot has replaced (C6).
func (s *session) look(ctx, linger context.Context, g *backend.Grant) (before *api.KVPair, err error) {
	for wait := sessions.FirstPause; ; wait = min(2*wait, g.TTL/3) {
		before, err = s.verify(linger, g)
		switch {
		case !errors.Is(err, backend.ErrUnavailable):
			return before, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		sessions.Pause(ctx, wait)
	}
}

// awaitChange returns when a contender's key is gone, or is not as it was. An
// error says that it does not know. The index of the query is that of the key's
// last change, so that one before the query is told at once. An answer with
// nothing new may be of a store that a snapshot has replaced (C6): the next query
// has no index.
func (b *Backend) awaitChange(ctx context.Context, as *api.KVPair, ttl time.Duration) error {
	wait := min(ttl, time.Minute)
	for index := as.ModifyIndex; ; {
		now, err := block(ctx, wait, func(ctx context.Context) (*api.KVPair, error) {
			pair, _, err := b.agent.client.KV().Get(as.Key, b.agent.blocking(ctx, index, wait))
			return pair, err
		})
		switch {
		case err != nil || now == nil || now.ModifyIndex != as.ModifyIndex:
			return err
		case index == 0:
			index = as.ModifyIndex
		default:
			index = 0
		}
	}
}

// verify returns who is before g now, or nil. It believes a list with g's key in
// it: whoever was before g and is not in it has gone. One without it may be of a
// server that lags, which a consistent read tells (C2).
func (s *session) verify(ctx context.Context, g *backend.Grant) (before *api.KVPair, err error) {
	for _, options := range []func(context.Context) *api.QueryOptions{s.b.agent.query, s.b.agent.consistent} {
		list, err := s.b.list(ctx, s.b.keys.directory(g.Name), options)
		if err != nil {
			return nil, err
		}
		if own, before := find(list, g.Sys.(*hold).key, s.id); own != nil {
			return before, nil
		}
	}
	return nil, lost("its key was deleted")
}

// rolledBack says why Consul rolled a transaction back that stores a key.
func (s *session) rolledBack(errs api.TxnErrors) error {
	what := errs[0].What
	switch {
	case strings.HasPrefix(what, "invalid session"):
		return s.Lost("its session is gone")
	case strings.HasSuffix(what, " exists"):
		return lost("the request was withdrawn")
	case strings.Contains(what, "lock delay"): // the session that had locked the key has just ended
		return s.Lost("its session is gone")
	}
	return readable{errors.New(what)}
}
