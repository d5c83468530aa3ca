// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package etcd takes locks in etcd: a lease for each client, a key for each
// contender, served in the order in which etcd stored them.
//
// # URL
//
//	etcd://user:password@host1:2379,host2:2379/prefix?ttl=15s
//	etcds://host1,host2/prefix?ca=/etc/etcd/ca.crt&cert=client.crt&key=client.key
//
// etcds is TLS. Several hosts are members of one cluster; the port is 2379
// unless given. The path, without its first slash, precedes every key and ends
// in a slash: the lock "x" of etcd://host/app has its keys under app/x/, and
// that of etcd://host under x/.
//
// # Recipe
//
// A client has one session: a lease, which a keep-alive stream of its own
// renews, and a key <prefix>~session/<lease> that ends with it. Whatever the
// client holds, it has this one lease, this stream and one stream of watches.
//
// Lock puts <prefix><name>/<lease>-<owner>, bound to the lease, and reads the
// youngest key before it, in one transaction. The key with the lowest creation
// revision under the name holds the lock, and this revision is the fencing
// token. Who has one before it watches that key, and no other: an unlock wakes one
// waiter. The watch begins with the present, since the server looks up the past in
// steps of 100 ms; if others have written meanwhile, one read tells what it missed.
// That the one before is gone does not mean that nobody else is there, so one
// read follows, which shows the own key and the present one before it (E4): it
// may come from a member that lags, so a list without the own key is believed
// only if it is as young as the key. Two Locks of one name never share a
// transaction, since their revisions would be equal; a replayed transaction
// finds its own key and asks who is before it (E3).
//
// Unlock deletes the key if it still has its revision, and never revokes the
// lease, which has other keys. So does Withdraw. But a transaction without an
// answer may still be on its way (G1a), so what ends without its answer is
// deleted together with a put of <prefix>~gone/<owner>, which every
// transaction of that owner compares. These tombstones end with the lease; a
// session with more than 1000 of them is replaced.
//
// A lease lasts until the last keep-alive with a reply was sent, plus the TTL
// of the reply (E2, G2a): neither a lock granted since nor the reply's arrival
// extends it. Replies name only the lease, so they are matched to what was
// sent in order, and a new stream forgets what was sent on the old one. A
// session that has passed this deadline, less the margin, is never renewed
// again but revoked (G5a): a keep-alive that gets through late, or a new
// leader, which gives every lease its whole TTL, would revive keys that nobody
// holds.
//
// Where a store is put back to a snapshot the lease lives on, and with it what was
// unlocked since; what was put since is gone, and watches wait for revisions that
// are to come. So an answer to a keep-alive that is older than one before it, or of
// another cluster, makes the session ask a quorum, and so does the first answer of
// each further stream, which is opened as soon as one ends: servers stop for it. What
// a quorum once showed it does not lose. If it has fewer revisions, or not the session's
// own latest put or delete at the revision of that, the session ends, its holders are
// told, its lease is revoked and its waiters queue anew (E5).
//
// # Guarantees
//
// Exclusion, fencing and first in, first out hold through the loss of members
// and the change of leaders, as long as a quorum keeps its data. The end of a
// session (an administrator's revoke, its key deleted) is pushed to the client;
// a single lock's key that is deleted by hand is found by the next renewal,
// within a third of the TTL.
//
// One fault ends sessions early: a leader that was frozen for longer than the
// TTL (SIGSTOP, a suspended virtual machine) and goes on asks its successor to
// revoke the leases that it takes for expired, though they were renewed there.
// etcd 3.5.13 made that rarer (E1); 3.7.3 still does it now and then. The holder
// is told by push, but the next one may be granted the lock a moment before,
// with its larger token.
//
// A restored snapshot may reissue revisions, and with them tokens, unless it is
// restored with etcdutl's --bump-revision. A lock that was taken since the snapshot
// is free there, until its holder is told by its next renewal. That the store is an
// older one does not show to a client whose latest put or delete it has compacted, once
// it has as many revisions as the client has seen: restore it with a cluster ID of its
// own, by a new --initial-cluster-token.
//
// Whole seconds only: other TTLs are rounded up, and the server may give more;
// the grant says what it gave. Info.Reclaim does not count the election of a
// new leader, which adds up to an election and one TTL.
//
// # Limits
//
//   - etcd 3.5.23 or 3.6.5 at least (E1): before, a deposed leader may revoke a
//     lease that was renewed (3.5.13), and a renewal may be acknowledged for a
//     lease that was revoked. An older server is warned of in the log.
//   - The TTL is 2 s at least, the server's own minimum with the default
//     election timeout. The TTL of a session's first lock is that of all its locks.
//   - A prefix must not be another client's prefix and the beginning of a name.
//   - With authentication, the user needs to read and write the prefix.
//   - A waiter whose member hangs, without closing the connection, is woken once
//     the connection is found dead: after 15 s, and behind a [clientv3.Client] of
//     the application's own after its DialKeepAliveTime and DialKeepAliveTimeout,
//     which are off by default.
//   - A server out of space (NOSPACE) refuses new locks, with an error that says
//     so; held ones can be renewed and unlocked.
//
// # Sharing with native clients
//
// The keys are those of clientv3/concurrency.Mutex and of "etcdctl lock":
// they and we exclude each other and stand in one queue, first in, first out:
//
//	etcdctl lock app/x COMMAND
//
// is the lock "x" of etcd://host/app. It holds for names that need no escape
// ([backend.Escape]): printable ASCII without space, slash, percent and tilde.
package etcd

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
)

// closeTimeout bounds Close, beyond a client that does not heed its context.
const closeTimeout = 5 * time.Second

var errClosed = errors.New("the backend is closed")

// Config is how a Backend uses its client.
type Config struct {
	// Prefix precedes every key as it is; empty by default. It is valid UTF-8
	// and must not be another client's prefix and the beginning of a name.
	Prefix string

	// Logger is told of servers that are too old; nil: slog.Default.
	Logger *slog.Logger
}

// A Backend takes locks in etcd. It is safe for concurrent use.
type Backend struct {
	client *clientv3.Client
	leases pb.LeaseClient
	own    bool // Close closes client
	keys   keys
	log    *slog.Logger

	base       context.Context // ends with Close
	shut       context.CancelFunc
	goroutines sync.WaitGroup
	streams    atomic.Int64 // generation of the stream of watches

	mu      sync.Mutex
	checked bool // the servers' versions were looked at
	current *session
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// New returns a Backend that uses client, with its KV, Watcher and Lease, so
// that those of clientv3/namespace work. It does no I/O: the first Lock opens
// the session. client stays the caller's to close, after the Backend.
//
// A nil cfg is the zero Config.
func New(client *clientv3.Client, cfg *Config) (*Backend, error) {
	if client == nil || client.ActiveConnection() == nil {
		return nil, errors.New("etcd: the client is nil, or has no connection of its own")
	}
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &Backend{
		client: client,
		leases: pb.NewLeaseClient(client.ActiveConnection()),
		keys:   keys{prefix: cfg.Prefix},
		log:    cfg.Logger,
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.base, b.shut = context.WithCancel(context.Background())
	return b, nil
}

// Info describes the backend. The server looks for expired leases every half
// second.
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name:    "etcd",
		Fencing: true,
		Fair:    true,
		MinTTL:  2 * time.Second,
		MaxTTL:  24 * time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return time.Duration(seconds(ttl))*time.Second + time.Second },
	}
}

// Close revokes the session's lease, which releases all that it holds, and
// closes the client if the Backend was opened by URL.
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
		b.goroutines.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(closeTimeout):
	}
	if b.own {
		return b.client.Close()
	}
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

// seconds is what etcd counts a TTL in, rounded up.
func seconds(ttl time.Duration) int64 {
	return int64((ttl + time.Second - 1) / time.Second)
}
