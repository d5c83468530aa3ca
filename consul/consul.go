// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package consul takes locks in Consul: a session for each client, a key for
// each contender, served in the order in which Consul stored them.
//
// # URL
//
//	consul://:token@host:8500/prefix?ttl=15s
//	consuls://host/prefix?ca=/etc/consul/ca.crt&cert=client.crt&key=client.key
//	consul+unix:///run/consul/http.sock?prefix=app
//
// consuls is TLS. The host is that of the agent, the local one as a rule; the
// port is 8500, and 8501 with TLS, unless given. The path, without its first
// slash, precedes every key and ends in a slash; with consul+unix it is that of
// the agent's socket. The ACL token is the URL's password. dc, namespace and
// partition say where the keys and the session are, the latter two in Consul
// Enterprise; max_waiting is [Config].MaxWaiting. What the URL leaves out,
// CONSUL_HTTP_TOKEN, CONSUL_HTTP_TOKEN_FILE, CONSUL_NAMESPACE and
// CONSUL_PARTITION say, as they do for Consul's own command.
//
// With ACLs the token needs these rules and no others, with the prefix and the
// name of the agent's node in place of app/ and node. A token for many nodes has
// session_prefix "" in place of session "node".
//
//	key_prefix "app/" { policy = "write" }
//	session "node" { policy = "write" }
//
// # Recipe
//
// A client has one session, without health checks (C1: with the default ones it
// ends seconds after its agent, whatever its TTL), with the behavior delete: its
// keys end with it. Renewals have connections of their own (C4), and a blocking
// query waits for the session's end.
//
// Lock stores <prefix><name>/<owner>, locked by the session, and reads all keys
// under the name, in one transaction. The key with the lowest CreateIndex holds
// the lock, and this index is the fencing token. Who has one before it waits for
// that key to go, in a blocking query from its ModifyIndex on, so that one which
// has gone already is told at once, and waits for no other: an unlock wakes one
// waiter. That the one before is gone does not mean that nobody else is there, so
// one read follows, and is believed if the own key is in it; if it is not, a
// consistent read decides (C2: a leader that was just deposed, or elected, may
// know less). The waiters of one process that want one lock stand in a line, in
// the order of their keys, and the first alone has a blocking query.
//
// When a snapshot is restored, Consul ends such a query with what was before, and
// indexes go back (C6): what is answered with nothing new is asked for again
// without one. What was unlocked since the snapshot was saved is back, locked by a
// session that lives and is renewed: a client that sees the signs of it lists all
// keys under its prefix once, and deletes those of its session that it does not
// want.
//
// Since every contender has a key of its own, Consul's lock-delay is in nobody's
// way; and a transaction that is sent again finds its own key (E3).
//
// Unlock deletes the key if the session still locks it: a bare delete succeeds
// where there is nothing (C5). With NoWait who is not the first deletes its key
// again. What ended without an answer may still be on its way (G1a), so it is
// deleted together with a write of <prefix>~gone/<owner>, locked by the session
// too, which every transaction of that owner checks. A session with more than
// 1000 of these tombstones is replaced.
//
// A session lasts until the last renewal with an answer was sent, plus the TTL
// (G2a). One that has passed this deadline, less the margin, is never renewed
// again but destroyed (G5a): Consul itself waits for twice the TTL. Every request
// has a deadline: the native client's renewals have none, and its holder goes on
// when its packets vanish (hashicorp/consul issue 18271). A session whose create
// was not answered is found by its name and destroyed by Close (C3).
//
// # Guarantees
//
// Exclusion, fencing and first in, first out hold through the loss of servers
// and agents, as long as a quorum keeps its data. The end of a session (destroyed
// by an administrator) is pushed to the client; a single lock's key that is
// deleted by hand is found beside the next renewal, within a third of the TTL: one
// transaction looks for 128 keys.
//
// Consul ends a session up to twice its TTL after the last renewal, and a new
// leader begins that anew: Info.Reclaim counts the former, not the latter.
//
// These end sessions early, and with them what they hold; the token is the guard:
// an administrator who destroys a session or deregisters its node, "consul leave"
// on its agent, a snapshot from before the session was created. A snapshot from
// before the lock was taken takes the lock alone away, which its holder finds with
// the next renewal. Tokens go on growing after a snapshot was restored into the
// cluster that it comes from; in a new cluster they go on from where it was saved,
// and so repeat those that the old one gave since then.
//
// # Limits
//
//   - Tested with Consul 1.22. Before 1.7 a session without checks was asked for
//     in another way.
//   - The TTL is from 10 s to 24 h: those are Consul's. A server whose
//     session_ttl_min is larger refuses less, with an error that says so. The TTL
//     of a session's first lock is that of all its locks.
//   - Connections to the agent: one for each lock that is waited for, up to
//     Config.MaxWaiting, one for the session, two for its renewals, and up to
//     16 at a time for all else. An agent takes 200 from one IP address
//     (http_max_conns_per_client), for all processes there.
//   - A prefix must not be another client's prefix and the beginning of a name.
//   - A client that is cut off while a snapshot is restored may not see the signs:
//     what it had unlocked before then may be locked until it is closed. Restart
//     the clients then.
//   - A waiter whose agent vanishes without closing the connection looks again
//     after the TTL, or a minute if that is less.
//
// # Sharing with native clients
//
// There is none: "consul lock" and [api.Lock] hold one key, <prefix>/.lock or
// their own, for which every waiter competes anew. They do not exclude us, nor we
// them. Keys of others under our prefix are left alone, and not counted.
package consul

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
)

// closeTimeout bounds Close, beyond a client that does not heed its context.
const closeTimeout = 5 * time.Second

var errClosed = errors.New("the backend is closed")

// A Backend takes locks in Consul. It is safe for concurrent use.
type Backend struct {
	agent *agent
	keys  keys
	lines lines
	name  string // of its sessions, unguessable (C3)
	idle  func() // closes the connections of an agent of its own

	base       context.Context // ends with Close
	shut       context.CancelFunc
	goroutines sync.WaitGroup

	mu      sync.Mutex
	current *session
	orphans bool // a session may have been created whose ID nobody knows
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// New returns a Backend that uses client. It does no I/O: the first Lock opens
// the session. client stays the caller's.
//
// A nil cfg is the zero Config.
func New(client *api.Client, cfg *Config) (*Backend, error) {
	if client == nil {
		return nil, errors.New("consul: the client is nil")
	}
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &Backend{
		agent: newAgent(client, cfg),
		keys:  keys{prefix: cfg.Prefix},
		lines: newLines(cfg.maxWaiting()),
		name:  "locker-" + rand.Text(),
		idle:  func() {},
	}
	b.base, b.shut = context.WithCancel(context.Background())
	return b, nil
}

// Info describes the backend. Consul ends a session within twice its TTL.
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name:    "consul",
		Fencing: true,
		Fair:    true,
		MinTTL:  10 * time.Second,
		MaxTTL:  24 * time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return 2*ttl + time.Second },
	}
}

// Close destroys the session, which releases all that it holds.
func (b *Backend) Close() error {
	b.mu.Lock()
	again := b.base.Err() != nil
	b.shut()
	b.mu.Unlock()
	if again {
		return nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.goroutines.Wait()
		b.destroyOrphans()
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
	}
	b.idle()
	return nil
}

// session returns the session for new locks, once it is open.
func (b *Backend) session(ctx context.Context, ttl time.Duration) (*session, error) {
	b.mu.Lock()
	if b.base.Err() != nil {
		b.mu.Unlock()
		return nil, errClosed
	}
	if b.current == nil || !b.current.Usable() {
		b.current = newSession(b)
		s := b.current
		b.goroutines.Go(func() { s.run(ttl) })
	}
	s := b.current
	b.mu.Unlock()

	select {
	case <-s.opened:
		return s, s.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
