// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
)

// A hold is what the adapter remembers of a request, in Grant.Sys. The session's
// mutex guards what changes.
type hold struct {
	session   *session
	container string // path
	guid      string

	create   *call[string] // for its node, if that may have been made; see path otherwise
	path     string        // of its node, if that surely was made
	adopted  bool          // the answer to create was lost, and the node found
	granted  bool
	released bool // the node is being deleted by us
	vanished bool // the node was deleted
}

// Lock enqueues a contender, and waits for the one before it to be gone.
func (b *Backend) Lock(ctx context.Context, req backend.Request) (*backend.Grant, error) {
	s, err := b.session(ctx, req.TTL)
	if err != nil {
		return nil, err
	}
	req.TTL = s.ttl
	g := &backend.Grant{Request: req, Group: s, Sys: &hold{
		session: s, container: b.paths.container(req.Name), guid: guidOf(req.Owner),
	}}
	if err := s.add(g); err != nil {
		return nil, err
	}
	ctx, leave := s.during(ctx)
	defer leave()
	linger, cancel := backend.LingerContext(ctx, req.TTL)
	defer cancel()
	if err = s.acquire(ctx, linger, g); err == nil {
		g.Until, err = s.grant(g)
	}
	switch {
	case err == nil:
		return g, nil
	case s.leavesSomething(g):
		return g, s.because(err)
	}
	s.drop(g)
	return nil, s.because(err)
}

// acquire returns when g is first, with its token: the zxid that made its node.
func (s *session) acquire(ctx, linger context.Context, g *backend.Grant) (err error) {
	h := g.Sys.(*hold)
	list, err := s.enqueue(ctx, linger, g)
	if err != nil {
		return err
	}
	if list.own.sequence >= maxSequence {
		return fmt.Errorf("%s has counted %d contenders and can order no more: once nobody holds or wants the lock for some minutes ZooKeeper removes the node, and it starts anew", h.container, list.own.sequence)
	}
	before, waits := list.before()
	if waits && g.NoWait {
		if _, err := s.remove(linger, g); err != nil {
			return fmt.Errorf("%w: %w", backend.ErrLocked, err)
		}
		return backend.ErrLocked
	}
	s.observe(h.path)
	if len(list.all) == 1 && !h.adopted {
		// The newest child is its own, or one before it that left meanwhile. All
		// that come after it are newer.
		g.Token = list.newest
		return nil
	}
	if waits {
		if g.Queued != nil {
			g.Queued()
		}
		if err := s.waitTurn(ctx, linger, g, before); err != nil {
			return err
		}
	}
	g.Token, err = s.creation(linger, h)
	return err
}

// enqueue makes g's node, and returns a list with it. If the connection is lost
// meanwhile it finds out, on the next one, whether the node was made.
func (s *session) enqueue(ctx, linger context.Context, g *backend.Grant) (listing, error) {
	over := backend.Now().Add(s.enqueuePatience())
	for wait := firstPause / 4; ; wait *= 2 {
		doubt := time.AfterFunc(silence, func() { s.nextBeat() })
		list, err := s.place(linger, g)
		doubt.Stop()
		if err == nil || !errors.Is(err, backend.ErrUnavailable) || ctx.Err() != nil || backend.Now().Add(wait).After(over) {
			return list, err
		}
		pause(ctx, wait)
	}
}

// silence is how long an enqueue waits for an answer before it asks for a heartbeat,
// by which a server that does not answer is found out.
const silence = time.Second

// enqueuePatience is how long an enqueue without an answer is made again: two
// servers may be silent. The Client's own patience is 9 s.
func (s *session) enqueuePatience() time.Duration {
	return min(max(patience, 2*(silence+s.step())+time.Second), 2*patience)
}

// place is one try. The list is asked for together with the node, and believed
// only if that is in it; who is in a list has everybody before it there, too.
func (s *session) place(ctx context.Context, g *backend.Grant) (listing, error) {
	h := g.Sys.(*hold)
	if err := s.settle(ctx, g); err != nil {
		return listing{}, err
	}
	if s.pathOf(h) != "" {
		return s.list(ctx, h)
	}
	const tries = 3 // the container may be removed between two requests
	for range tries {
		create, children := s.contend(g)
		path, err := await(ctx, s, create)
		switch {
		case err == nil:
			s.found(g, path, false)
			if list, err := await(ctx, s, children); err == nil && list.own.node != "" {
				return list, nil
			}
			return s.list(ctx, h)
		case !errors.Is(err, zk.ErrNoNode):
			if isRefusal(err) {
				s.notFound(g)
			}
			return listing{}, err
		}
		s.notFound(g)
		if err := s.makeContainer(ctx, h.container); err != nil {
			return listing{}, err
		}
	}
	return listing{}, unavailable(zk.ErrNoNode)
}

// contend asks for g's node and, as soon as that is on its way, for a list.
func (s *session) contend(g *backend.Grant) (*call[string], *call[listing]) {
	h := g.Sys.(*hold)
	path, note, sent := prefix(h.container, h.guid), []byte(g.Note), make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creating[path] = sent
	create := launch(s, func(c *zk.Conn) (string, error) {
		defer s.created(path)
		return c.Create(path, note, zk.FlagEphemeralSequential, s.b.acl())
	})
	h.create = create
	return create, launch(s, func(c *zk.Conn) (listing, error) {
		select {
		case <-sent:
		case <-create.done: // perhaps not sent
		}
		return h.children(c)
	})
}

// created is called when the creation of a node has been sent, or has ended.
func (s *session) created(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sent := s.creating[path]; sent != nil {
		delete(s.creating, path)
		close(sent)
	}
}

// settle finds out whether g's node was made, where the answer was lost. Either
// the servers got the request on the old connection, and then before the commit
// that follows on the new one; or they refuse it, since the session has moved.
// (A sync instead of the commit would believe a leader that was deposed.)
func (s *session) settle(ctx context.Context, g *backend.Grant) error {
	h := g.Sys.(*hold)
	s.mu.Lock()
	create := h.create
	s.mu.Unlock()
	if create == nil {
		return nil
	}
	path, err := await(ctx, s, create)
	switch {
	case err == nil:
		s.found(g, path, false)
		return nil
	case isRefusal(err):
		s.notFound(g)
		return nil
	case ctx.Err() != nil || !errors.Is(err, backend.ErrUnavailable):
		return err // it may still be on its way
	}
	if err := s.commit(ctx); err != nil {
		return err
	}
	list, err := s.list(ctx, h)
	switch {
	case err == nil:
		s.found(g, h.container+"/"+list.own.node, true)
	case errors.Is(err, errNotListed):
		s.notFound(g)
	default:
		return err
	}
	return nil
}

// waitTurn returns when no contender is before g. It outlives outages, but not
// ctx (SPI-wait).
func (s *session) waitTurn(ctx, linger context.Context, g *backend.Grant, before contender) error {
	h := g.Sys.(*hold)
	for wait := firstPause; ; {
		err := s.waitChange(ctx, h, before)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var list listing
		if err == nil {
			list, err = s.list(linger, h)
		}
		switch {
		case errors.Is(err, backend.ErrUnavailable):
			pause(ctx, wait)
			wait = min(2*wait, s.ttl/3)
			continue
		case err != nil:
			return err
		}
		next, waits := list.before()
		if !waits {
			return nil
		}
		before, wait = next, firstPause
	}
}

// waitChange returns when the one before has gone, or either node was changed.
func (s *session) waitChange(ctx context.Context, h *hold, before contender) error {
	own, other := s.observe(h.path), s.observe(h.container+"/"+before.node)
	if _, err := await(ctx, s, other.set); err != nil && !errors.Is(err, zk.ErrNoNode) {
		return err
	} else if err != nil {
		return nil // it has gone
	}
	select {
	case <-other.fired:
	case <-own.fired:
	case <-ctx.Done():
	}
	return nil
}

// creation returns the zxid that made h's node, and makes sure that the node is
// this session's. Both are in the answer to the watch on it, which another
// contender of the session may have asked for.
func (s *session) creation(ctx context.Context, h *hold) (int64, error) {
	for {
		s.mu.Lock()
		owner, vanished := s.handshake.session, h.vanished
		s.mu.Unlock()
		switch {
		case vanished:
			return 0, lost("its node was deleted")
		case s.life.Err() != nil:
			return 0, context.Cause(s.life)
		}
		node, err := await(ctx, s, s.observe(h.path).set)
		switch {
		case err == nil && node.EphemeralOwner == owner:
			return node.Czxid, nil
		case err == nil, errors.Is(err, zk.ErrNoNode):
			return 0, lost("its node was deleted")
		case ctx.Err() != nil || !errors.Is(err, backend.ErrUnavailable):
			return 0, err
		}
		pause(ctx, firstPause)
	}
}

// A listing is what a server says of a lock's contenders.
type listing struct {
	all    []contender
	own    contender // zero if it is not there
	newest int64     // zxid of the latest change among the children
}

// before returns the contender just before one's own, if there is one.
func (l listing) before() (last contender, found bool) {
	for _, c := range l.all {
		if c.sequence < l.own.sequence && (!found || c.sequence > last.sequence) {
			last, found = c, true
		}
	}
	return last, found
}

var errNotListed = lost("its node was deleted")

// list asks for the contenders. A server that has not seen what this session has
// seen does not serve it, so a node that was there and is not was deleted.
func (s *session) list(ctx context.Context, h *hold) (listing, error) {
	list, err := do(ctx, s, h.children)
	if errors.Is(err, zk.ErrNoNode) || err == nil && list.own.node == "" {
		err = errNotListed
	}
	return list, err
}

func (h *hold) children(c *zk.Conn) (listing, error) {
	children, stat, err := c.Children(h.container)
	if err != nil {
		return listing{}, err
	}
	list := listing{all: contenders(children), newest: stat.Pzxid}
	for _, c := range list.all {
		if isOf(c.node, h.guid) {
			list.own = c
		}
	}
	return list, nil
}
