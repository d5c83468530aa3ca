// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package zookeeper takes locks in ZooKeeper: a session for each client, an
// ephemeral sequential node for each contender, served in the order in which
// ZooKeeper made them.
//
// # URL
//
//	zk://user:password@host1:2181,host2:2181/chroot?ttl=15s
//	zks://host1,host2/chroot?ca=/etc/zk/ca.crt&cert=client.crt&key=client.key
//
// zks is TLS, to the servers' secure port. Several hosts are servers of one
// ensemble; the port is 2181 unless given. The path is the node under which all
// locks are, made if it is missing: the lock "x" of zk://host/app has its nodes
// under /app/x, and that of zk://host under /x. User and password authenticate by
// the scheme digest; every node is then for this user alone. The parameter tick
// is the servers' tickTime, which no client can ask for: 2s unless given.
//
// # Recipe
//
// A client has one session, on one connection. The session's timeout is the TTL:
// what the servers grant at the handshake must be what was asked for.
//
// Lock makes an ephemeral sequential node /<chroot>/<name>/_c_<GUID>-lock-<number>
// and asks, without waiting for the answer, for the children of /<chroot>/<name>,
// a container. A list that has the own node has all that came before it, however
// far the server lags; one that has it not is asked for again. The contender with
// the lowest number holds the lock. Who has one before it watches that node, and
// no other: an unlock wakes one waiter, which then asks for the children again,
// since the one before may merely have given up. The watch is set with the
// node's data, so that none is left on a node that is gone (Z6).
//
// The token is the zxid that made the node. The list tells it where the contender
// is alone: it then is the container's pzxid. It does not suffer from the
// container being removed and made anew. The number does, and it sticks at 2³¹-1,
// where it tells no order any more: before that Lock is an error that says so
// (Z4).
//
// Unlock deletes the node. If the answer to a node's creation is lost, the client
// finds out on its next connection, by the GUID, whether it was made: after a
// write that the servers commit, since what was asked for on the old connection
// comes before that or is refused (G1a). A sync would believe a leader that was
// deposed and does not know it. The driver's own zk.Lock gives up there,
// and leaves a node for which everybody waits as long as its session lives.
//
// The driver would carry requests over from a session that has expired into the
// next (Z3). So a session here has a driver's connection of its own, which dials
// no more once a server has said that the session is over; and the owner of a
// node is compared with the session where the node was found by its GUID.
//
// A session lasts, for the client, from a heartbeat that surely reached the
// leader. No read is one, nor the driver's ping, nor a sync: a server that was cut
// off from its leader answers them, while the leader expires the session. Two
// holders were seen for 9.6 s (Z1). A heartbeat is the deletion of a node that
// does not exist, <chroot>/~never, which fails, and which a quorum commits all the
// same. Even then the leader hears of it only by its next ping to the server
// that took the heartbeat, and never if that server dies before: two holders were
// seen for 3 s. So a heartbeat counts from the second one after it (Z2). They go
// out six times in a TTL; a lease therefore has half to two thirds of its TTL
// left, and a server that does not answer one within a sixth of the TTL, at least
// 1 s, is left for the next. A session that has passed its deadline, less the
// margin, is ended and never renewed again (G5a): on a connection that takes it
// over and asks for its end, again and again until a server says that it is no
// more. The driver's Close asks once, and does not say what came of it.
//
// # Guarantees
//
// Exclusion, fencing and first in, first out hold through the loss of servers and
// the change of leaders, as long as a quorum keeps its data. The end of a session
// by an administrator, and a single node that is deleted by hand, are pushed to
// the client; the next one may be granted the lock a moment before the holder
// hears of it, with its larger token.
//
// A restored snapshot may reissue zxids, and with them tokens.
//
// Info.Reclaim is the TTL and two ticks: one by which a server tells the leader of
// a heartbeat late, and one to which the leader rounds up. It does not count the
// election of a new leader, which gives every session its whole timeout anew.
//
// # Limits
//
//   - The TTL is three ticks at least, 6 s with the default. What the servers
//     grant, 2 to 20 ticks by default, is known at the handshake: opening the URL,
//     or the first Lock after [New], is an error that names it if it is not the
//     TTL. All servers of an ensemble must have the same limits: one that grants
//     less ends the leases of a client that comes to it.
//   - What it does not promise: a parameter tick that is less than the servers'
//     tickTime makes a lease outlive its session if a server dies.
//   - Calls with NoWait stand in the queue for a moment. One that comes as the
//     lock is unlocked may find another such call before it, and say ErrLocked.
//   - A container is removed by the leader some minutes after its last contender
//     has gone. Servers before 3.5.3 have no containers: the parent is then an
//     ordinary node, which the client tries to delete with each unlock. A crash
//     leaves it.
//   - A chroot must not be another client's chroot and a name.
//   - The lock "zookeeper" without a chroot is under /~7Aookeeper, since
//     /zookeeper is the servers' own.
//   - With a user the nodes that are made, the chroot's too, are for that user
//     alone. The chroot may be made beforehand with other rights: its clients need
//     CREATE there and, where the servers have no containers, DELETE.
//   - An ensemble with observers or with sessions that are local to a server
//     (localSessionsEnabled) works; heartbeats and locks are commits all the same.
//
// # Sharing with native clients
//
// Apache Curator's InterProcessMutex and the driver's zk.Lock exclude us and we
// them, in one queue, first in, first out, with the path /<chroot>/<name>. It
// holds for names that need no escape ([backend.Escape]): printable ASCII without
// space, slash, percent and tilde. With a user they need the same one.
//
// kazoo's Lock counts only what its patterns match, and so ours only with
// extra_lock_patterns=["-lock-"]; we count kazoo's in any case (Z5). What has
// another form is ignored.
package zookeeper

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
)

// closeTimeout bounds Close.
const closeTimeout = 6 * time.Second

var errClosed = errors.New("the backend is closed")

// Config is how a Backend reaches the servers, and where in their tree it works.
type Config struct {
	// Servers are those of one ensemble, each as host or host:port; the port is
	// 2181 unless given. At least one.
	Servers []string

	// Dialer connects to a server; nil: plain TCP. The DialContext of a
	// tls.Dialer makes it TLS.
	Dialer Dialer

	// Chroot is the path of the node under which all locks are, such as
	// /app/locks; empty: the root. It is made with the first lock if it is
	// missing.
	Chroot string

	// User and Password authenticate the client, by ZooKeeper's scheme digest;
	// the nodes are then for this user alone. Without them the nodes are for
	// everybody. The user has no colon.
	User     string
	Password backend.Secret

	// Tick is the servers' tickTime, which no client can ask for: from 50 ms to
	// a minute; 0: ZooKeeper's default of 2 s. The TTL is three of it at least.
	Tick time.Duration

	// Logger is told at Debug what the driver has to say; nil: slog.Default.
	Logger *slog.Logger
}

func (c *Config) tickOrDefault() time.Duration {
	if c.Tick == 0 {
		return defaultTick
	}
	return c.Tick
}

// A Backend takes locks in ZooKeeper. It is safe for concurrent use.
type Backend struct {
	servers  []string
	dialer   Dialer
	paths    paths
	user     string
	password backend.Secret
	tick     time.Duration
	log      *slog.Logger

	noContainers atomic.Bool // the servers do not know them

	base       context.Context // ends with Close
	shut       context.CancelFunc
	goroutines sync.WaitGroup

	mu      sync.Mutex
	current *session
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// New returns a Backend. It does no I/O: the first Lock opens the session. If the
// servers do not grant the TTL as a session timeout, that Lock says what they
// grant.
func New(cfg Config) (*Backend, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &Backend{
		dialer: cfg.Dialer, paths: paths{strings.TrimSuffix(cfg.Chroot, "/")},
		user: cfg.User, password: cfg.Password, tick: cfg.tickOrDefault(), log: cfg.Logger,
	}
	for _, server := range cfg.Servers {
		b.servers = append(b.servers, withPort(server))
	}
	if b.dialer == nil {
		b.dialer = (&net.Dialer{}).DialContext
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.base, b.shut = context.WithCancel(context.Background())
	return b, nil
}

// Info describes the backend. The least TTL is three ticks.
func (b *Backend) Info() backend.Info { return infoOf(b.tick) }

// infoOf counts, for a dead holder, with the tick by which a follower tells its
// leader of the last heartbeat late, and the one to which the leader rounds up.
func infoOf(tick time.Duration) backend.Info {
	return backend.Info{
		Name:    "zookeeper",
		Fencing: true,
		Fair:    true,
		MinTTL:  3 * tick,
		MaxTTL:  24 * time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return ceilMillisecond(ttl) + 2*tick },
	}
}

// Close ends the session, which releases all that it holds.
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
	return nil
}

// session returns the session for new locks, once it is open.
func (b *Backend) session(ctx context.Context, ttl time.Duration) (*session, error) {
	s, err := b.present(ttl)
	if err != nil {
		return nil, err
	}
	return opened(ctx, s)
}

func (b *Backend) present(ttl time.Duration) (*session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != nil && !b.current.ended() {
		return b.current, nil
	}
	s, err := b.start(ttl)
	if err == nil {
		b.current = s
	}
	return s, err
}

// start starts a session. The mutex is held.
func (b *Backend) start(ttl time.Duration) (*session, error) {
	if b.base.Err() != nil {
		return nil, errClosed
	}
	s := newSession(b, ttl)
	b.goroutines.Go(s.run)
	return s, nil
}

func opened(ctx context.Context, s *session) (*session, error) {
	select {
	case <-s.opened:
		return s, s.err
	case <-ctx.Done():
		return nil, s.silent(context.Cause(ctx))
	}
}

// acl gives the nodes to the user who makes them, if there is one.
func (b *Backend) acl() []zk.ACL {
	if b.user != "" {
		return zk.AuthACL(zk.PermAll)
	}
	return zk.WorldACL(zk.PermAll)
}
