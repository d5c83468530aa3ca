// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package postgres takes locks in a PostgreSQL database, as advisory locks with a
// lease. It needs no table, only a sequence, which it creates.
//
// # URL
//
//	postgres://user:password@host1:5432,host2/database?ttl=30s&prefix=myapp
//
// postgresql is the same scheme. The driver, pgx, reads sslmode, sslrootcert,
// sslcert, sslkey, application_name, search_path, connect_timeout and
// target_session_attrs as libpq does, and the PG… variables of the environment
// and ~/.pgpass for what the URL leaves out. With several hosts the primary is
// taken, and a host that does not answer is passed over. A Unix socket is named by
// its directory: postgres:///database?host=/run/postgresql. Of our own are prefix,
// max_waiting, sequence, snapshot_age and restart_grace: see [Config].
//
// # Recipe
//
// One session, a connection of its own, holds every lock that was free when it
// was asked for. Statements that come while a batch is under way make up the next
// one, up to 256 (P7; 32 on a Unix socket), each with a Sync of its own, so that an error of one leaves
// the others alone (P6). So a Lock is one round trip, an Unlock one, and the
// renewal of everything one. pg_try_advisory_lock and nextval stand in one
// statement: the token is drawn after the lock is granted.
//
// The server's idle_session_timeout is the lease: a session that has said nothing
// for a TTL is ended by the server, and its locks are free. Grant.Until counts
// from when the last statement that the server completed was sent. A session past
// its deadline is never used again (G5a). A reader waits on each connection at all
// times, so the server's end of a session is told at once.
//
// Whoever finds a lock held waits in pg_advisory_lock, in the server's own queue,
// on a second session. All callers of one process that want one lock stand behind
// each other (session locks are re-entrant, so they must), and the first has the
// one statement in the server's queue; if it leaves, the next takes the statement
// over. The lock stays with the session that waited (P5), which is kept for a
// moment for the next waiter when it is released. After a blocking grant one more
// exchange draws the token and dates the grant (G2b). A wait that failed or was
// cancelled may have been granted all the same (P1): so such a session holds one
// key only, and releases with pg_advisory_unlock_all. A cancel request may hit the
// statement after: that one is repeated.
//
// Each session sets what the lease needs, whatever the role's settings are, and
// reads it back (P2); it acts as the role that logged in. Under a transaction's advisory lock it then moves the
// sequence on by 65536, to the present microsecond at least: nextval writes its
// log once in 32 times and a crash takes the rest back (P3).
//
// A restart of the server frees all locks without a word to holders that are cut
// off, so nothing is granted until a TTL after it (P4). The START of the sequence
// is the start time of the server that it was made on: while they are equal,
// nobody can hold a lock from before, and there is nothing to wait for.
//
// A statement that waits keeps a snapshot, for which CREATE INDEX CONCURRENTLY
// waits, perhaps on behalf of the lock's holder, and which holds back VACUUM. Once
// a second, while anything waits, the shared session asks whether somebody waits
// for one of ours, and if so that statement is cancelled and sent again (P8); else
// after five minutes. It then stands at the end of the server's queue.
//
// What ended without the server's word (a Lock, an Unlock, a session) is made sure
// of: by the answer, if the session lives, else by pg_terminate_backend of that
// session, identified by pid and start, until the server no longer has it.
//
// # Guarantees
//
// Tokens grow as long as the server keeps its data. An asynchronous standby that
// is promoted may lack the last of them: tokens then go on from the larger of what
// it has, plus 65536, and the present time in microseconds, so that they grow
// unless its clock is behind. Dropping the sequence, or restoring an old one, is
// an administrator's act; tokens still follow the clock. Close leaves nothing
// behind but the sequence.
//
// Waiters are served in the order in which the server queued them, one for each
// process at a time; behind it the process's own stand in their order. A snapshot
// that is renewed, and a session that was lost, lose their place.
//
// A dead or silent holder's locks are free a TTL after its last statement; those
// of a process that was killed at once, by the end of its connection.
//
// A connection that something in between ends (a proxy, a gateway that restarts, a
// firewall) ends its session, and the server gives its locks to others at once. Who
// held them is told by the same end, as a rule within a millisecond, which may be
// one too late; where the server alone is told, up to its deadline. Nor can the
// restart rule close these: a standby that is promoted while the old primary's
// clients are cut off (its start time is days old), two primaries at once, a crash
// of one backend, which ends all sessions, that meets a cut network. In all of them
// the token is the guard.
//
// # Limits
//
//   - PostgreSQL 14 or later, the primary. Redshift, CockroachDB and the like are
//     refused or untested.
//   - No connection pooler in between (PgBouncer in any mode, Odyssey, RDS Proxy):
//     it is detected and refused. Give the address of the server itself.
//   - The database is part of the lock's identity, and the TTL should be the same
//     for all of its clients. A database for locks alone keeps their snapshots
//     away from VACUUM.
//   - Connections: 1 + locks that are waited for + locks that were waited for and
//     are held. Config.MaxWaiting caps all but the first. They are not taken from
//     the application's pool.
//   - The server's lock table has room for about max_locks_per_transaction ×
//     max_connections locks.
//   - Who waits while a restarted server grants nothing (P4) is in no queue yet, and
//     served in no order.
//   - Names are hashed to 64 bits ([Key]).
//   - The server compares its wall clock when it looks for silent sessions. One that
//     jumps forward may end a session, and its locks, before the deadline of their
//     holder, who learns of it by the end of the connection.
//   - Inspect tells whether a lock is held and how many processes wait; the note
//     and token only of what the same Backend holds.
//
// # Sharing with native clients
//
// Whatever calls pg_advisory_lock, pg_try_advisory_lock or their _xact_ forms with
// the one bigint that [Config].Key gives for a name excludes us, and we it: so do
// golang-migrate and goose with the keys that they compute. Such a holder has no
// token of ours, and no TTL unless its session has idle_session_timeout.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/golocker/locker/backend"
)

// Backend takes locks in one database. It is safe for concurrent use.
type Backend struct {
	cfg     Config
	connect func(context.Context) (*pgconn.PgConn, error)
	log     *slog.Logger

	life       context.Context // until Close
	end        context.CancelFunc
	goroutines sync.WaitGroup

	mu       sync.Mutex // taken before that of a session
	closed   bool
	ttl      time.Duration // of all sessions; zero until the first
	sessions map[*session]struct{}
	current  *session // the shared one; nil if there is none
	dialing  *dialing // the shared one, on its way
	gates    map[int64]*gate
	waits    map[*wait]struct{}
	watching bool
	waiting  int // sessions of locks that are waited for, or were and are held
	spares   []*session
	graceOf  int64 // the life of the server whose grace was logged
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// New returns a Backend on the database of pool. It connects as the pool does,
// with its configuration and its BeforeConnect, but never takes a connection
// from it. It does no I/O: the first Lock connects, and checks the server.
//
// A nil cfg is the zero Config.
func New(pool *pgxpool.Pool, cfg *Config) (*Backend, error) {
	if pool == nil {
		return nil, errors.New("postgres: pool is nil")
	}
	config := pool.Config()
	return newBackend(cfg, func(ctx context.Context) (*pgconn.PgConn, error) {
		conn := config.ConnConfig.Copy()
		if config.BeforeConnect != nil {
			if err := config.BeforeConnect(ctx, conn); err != nil {
				return nil, err
			}
		}
		withstand(&conn.Config)
		return pgconn.ConnectConfig(ctx, &conn.Config)
	})
}

func newBackend(cfg *Config, connect func(context.Context) (*pgconn.PgConn, error)) (*Backend, error) {
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	b := &Backend{
		cfg: *cfg, connect: connect, log: slog.Default(),
		sessions: map[*session]struct{}{}, gates: map[int64]*gate{}, waits: map[*wait]struct{}{},
	}
	b.life, b.end = context.WithCancel(context.Background())
	return b, nil
}

// Info describes the backend.
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name:    "postgres",
		Fencing: true,
		Fair:    true,
		MinTTL:  time.Second,
		MaxTTL:  24 * time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return ttl },
	}
}

// Renew extends a session, and with it all that it holds, by one exchange.
func (b *Backend) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	out := make([]backend.Renewal, len(grants))
	exchanges := map[*session]backend.Renewal{}
	for i, g := range grants {
		h := g.Sys.(*hold)
		if !b.holds(h) {
			out[i].Err = errGone
			continue
		}
		r, done := exchanges[h.session]
		if !done {
			r = h.session.extend(ctx)
			exchanges[h.session] = r
		}
		out[i] = r
	}
	return out
}

func (b *Backend) holds(h *hold) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return h.state == held && h.session.alive()
}

func (s *session) extend(ctx context.Context) backend.Renewal {
	o := ping()
	err := s.do(ctx, o)
	switch {
	case err == nil || s.alive() && codeOf(err) == codeCancelled: // answered all the same
		return backend.Renewal{Until: o.sent.Add(s.ttl)}
	case s.alive():
		return backend.Renewal{Err: err}
	}
	return backend.Renewal{Err: lostSession(err)}
}

// Unlock releases g. A lock that was waited for leaves its session to the next
// waiter.
func (b *Backend) Unlock(ctx context.Context, g *backend.Grant) error {
	return b.undo(ctx, g.Sys.(*hold))
}

// Withdraw ends whatever g's request has in the server: it waits for the outcome
// of a statement that is under way, or makes sure that its session has ended.
func (b *Backend) Withdraw(ctx context.Context, g *backend.Grant) error {
	h := g.Sys.(*hold)
	err := b.undo(ctx, h)
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.state == gone {
		return nil
	}
	return err
}

// Close ends all sessions. Calls that still run end with an error.
func (b *Backend) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	var all []*session
	for s := range b.sessions {
		all = append(all, s)
	}
	b.mu.Unlock()
	b.end()
	for _, s := range all {
		s.fail(errClosed, false)
	}
	done := make(chan struct{})
	go func() {
		b.goroutines.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second): // a dial that does not heed its context
	}
	return nil
}

// spawn starts a goroutine unless the backend is closed.
func (b *Backend) spawn(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.goroutines.Go(f)
	}
	return !b.closed
}
