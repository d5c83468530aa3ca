// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package redis takes locks in Redis 5 or later, alone, with sentinels, or in a
// cluster (7 or later). The script that unlocks hands the lock to the next
// waiter and tells its client.
//
// # URL
//
//	redis://user:password@host:6379/0            one server; the path is the database
//	redis://s1,s2,s3/0?sentinel=NAME             the master NAME, as its sentinels know it
//	redis://n1,n2,n3?cluster=true                a cluster
//	rediss://host?ca=FILE&cert=FILE&key=FILE&server_name=NAME
//	redis+unix://:password@/run/redis.sock?db=0
//
// Further parameters: prefix=TEXT precedes every key; allow_eviction=true accepts
// a server that evicts keys. rediss takes cluster and sentinel, too. Open
// connects and checks the server, within 5 s; [New] leaves that to the first
// Lock. Sentinels with a password of their own, and servers that only a dialer
// of the application reaches, are for New.
//
// A user with ACL rules needs the keys ~PREFIX* and ~{PREFIX*, the channels
// &PREFIX* (in a cluster &{PREFIX* as well) and the commands info eval evalsha
// time get set del exists pttl pexpire hset hget hdel hvals zadd zrem zscore
// zrank zrange publish subscribe ping, select for a database but 0 (in a cluster spublish
// ssubscribe sunsubscribe cluster command).
//
// # Recipe
//
// Five keys belong to the lock "n", all in one cluster slot. A name with a hash
// tag, such as {a}b, lends it to them: {a}b~queue.
//
//	n                   string "locker:OWNER TOKEN NOTE", with the TTL; set only while there is none
//	{n}~~queue          sorted set: waiters' owners by place (µs of the server's clock, growing)
//	{n}~~waiters        hash: owner → until when it lives, its claim TTL, how to tell its client, note
//	{n}~~fence          string: the last token; expires an hour after it
//	{n}~~gone:OWNER     tombstone of a request that was withdrawn without an answer; lives for a minute
//
// Each operation is one script, and only the server's clock counts:
//
//	lock.lua     takes the lock, or a place in the queue; idempotent by owner
//	release.lua  gives up the lock or the place, with a tombstone if told to
//	renew.lua    extends the lock; names one key, so that it works while a cluster moves the slot
//	drop.lua     release.lua for that time
//	inspect.lua  who holds, how many wait
//
// lock and release begin with settle.lua: dead waiters are dropped from the head
// of the queue, and a free lock goes to the first one who lives. Nobody is let in
// past a queue. The token is the larger of the time in µs and the last token
// plus one. No script shortens a lock. In each script every write leaves
// something safe behind if the next one fails: first the fence, then the lock,
// then the queue, last the message, which may fail.
//
// A waiter that another's script granted the lock has it for the claim TTL: a
// third of the TTL, at least 1 s. Its client confirms by renewing at once. The
// message goes to one channel per client, by one connection (in a cluster: one
// shard channel per lock waited for, by one connection per master). Messages get
// lost, so each client runs the lock scripts of all its waiters again, in one
// pipeline, every third of the claim TTL, and whenever a subscription was made
// anew. That is also how a waiter shows that it lives: it counts as dead a claim
// TTL after its last script. One that was passed over meanwhile gets its old
// place back. The reply says who is first; the first one asks again when the
// lock would expire, or every 250 ms if the holder is not one of locker's.
//
// A grant by a script's reply holds until the time that script was sent plus
// what the reply says is left. A push has no send time. It carries the server's
// time, as does every reply, so a pushed grant holds until
//
//	send time of the waiter's last answered script
//	+ (server's time in the push − server's time in that answer) + claim TTL
//
// and never later than a claim TTL after the push was read. That compares one
// server's clock with itself, so it counts only if the script was sent after the
// subscription had been confirmed by which the push came. If it does not, or the
// deadline has nearly passed, the waiter runs its script again instead.
//
// The adapter sends no script that go-redis could repeat by itself, and counts
// those of each request that have not ended with an answer. While there is one,
// release writes a tombstone: the script may still be on its way, and would take
// the lock for an owner that has gone. That goes for Withdraw, and for the Unlock
// of a waiter that was granted by a push while its re-run was in flight. All
// other releases leave nothing.
//
// These schedules break simpler recipes, and have tests of their names:
//
//   - R1: the message of a hand-over is lost, or the first waiter leaves and the
//     second never learns that it is the first. Hence the re-runs; and every
//     script settles, so that nobody barges in when a lock is free and has a queue.
//   - R2: a server that evicts keys takes locks first, and one whose memory is full
//     refuses to hand over. Hence the check, and scripts that begin with a write
//     that is always allowed.
//   - R3: a re-run that is executed after the claim was confirmed cuts the lock
//     to the claim. No script lowers a lock's expiry.
//   - R4: Lua prints numbers with 14 digits, so tokens repeat for 100 µs. They
//     leave Lua as text of all digits.
//   - R5: go-redis ignores contexts by default, sends commands again by itself,
//     and has no answer to a restarted server that knows no script of a pipeline.
//     Each exchange may be left behind, none is repeated unseen, and unknown
//     scripts are sent in full. A Ring re-hashes a lock to another server.
//   - R6: foreign holders tell nobody that they are gone. The first waiter, and it
//     alone, looks.
//   - R7: while a cluster moves a slot it refuses scripts that name a missing key,
//     and then takes the subscription away. Renewals name one key; waiters follow.
//   - R8: a script that fails half-way is not undone, as when the user may not
//     publish. Each write leaves something safe, and the message may fail.
//   - R9: a server that forgot everything starts its tokens again. They are its
//     time, so they still grow.
//
// # Guarantees
//
// Tokens grow, and waiters are served first come, first served. A dead holder is
// replaced within TTL + claim TTL. Lock and Unlock take one request each, a
// hand-over one request and one message, whatever the number of waiters; a
// client's held locks are renewed in one pipeline per node. No goroutine, key or
// connection belongs to a single held lock, but the lock's own key and its fence.
//
// # Limits
//
//   - Redis may forget a lock: with appendonly and appendfsync always it keeps
//     them across a restart, with everysec or snapshots it may not. A failover
//     loses what was not replicated: the old holder believes in its lock until
//     its next renewal. Tokens grow across both as long as the new server's
//     clock is not behind by more than the failover took.
//   - Expiry is by the server's wall clock. One that jumps forward ends locks
//     early.
//   - A server that evicts keys with an expiry (maxmemory-policy volatile-* or
//     allkeys-*) evicts locks and tells nobody. It is refused unless
//     allow_eviction says otherwise. With noeviction a full server turns away new
//     requests only: locks are renewed, released and handed over.
//   - A request that arrives more than a minute after it was withdrawn is not
//     fenced any more.
//   - While a cluster moves a slot, scripts that name several keys are refused:
//     locks in it are renewed and released, but new ones wait until the move is
//     over.
//   - One Redis, not Redlock: independent servers are not combined.
//
// # Sharing with native clients
//
// What redsync, redislock or a plain SET name value NX PX holds is held for
// locker, and the other way round, if the name consists of printable ASCII other
// than space / % ~ (and has no } without a hash tag before it) and the prefix is
// empty, or the others use it as well. They delete their key and tell nobody, so
// a waiter sees it within 250 ms. They do not queue: one that polls never gets a
// lock that locker's waiters hand on to each other.
package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
)

// Backend takes locks in Redis. It is safe for concurrent use.
type Backend struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // nil outside a cluster
	own     bool                 // Close closes client
	cfg     Config
	channel string // where this client listens, outside a cluster; the end of it, in one

	life       context.Context // until Close
	end        context.CancelFunc
	goroutines sync.WaitGroup
	checking   chan struct{} // holds one: the right to check the servers

	mu      sync.Mutex // guards what follows and all subscriptions
	checked bool
	closed  bool
	epochs  uint64
	subs    map[string]*subscription // by node
}

var (
	_ backend.Backend   = (*Backend)(nil)
	_ backend.Inspector = (*Backend)(nil)
)

// New returns a Backend that uses client: a *redis.Client, with or without
// sentinels, or a *redis.ClusterClient. It does no I/O: the first Lock checks
// the server. client stays the caller's to close, after the Backend. A
// *redis.Ring is refused: it moves a lock to another server when one looks down.
//
// A nil cfg is the zero Config.
func New(client redis.UniversalClient, cfg *Config) (*Backend, error) {
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redis: client is nil")
	case *redis.Client:
		if c == nil {
			return nil, errors.New("redis: client is nil")
		}
	case *redis.ClusterClient:
		if c == nil {
			return nil, errors.New("redis: client is nil")
		}
	case *redis.Ring:
		return nil, errors.New("redis: a Ring moves a lock to another server when one looks down, so two could hold it: use a Client, or a ClusterClient")
	}
	if cfg == nil {
		cfg = &Config{}
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &Backend{
		client:   client,
		cfg:      *cfg,
		channel:  "client:" + rand.Text(),
		checking: make(chan struct{}, 1),
		subs:     map[string]*subscription{},
	}
	b.cluster, _ = client.(*redis.ClusterClient)
	b.life, b.end = context.WithCancel(context.Background())
	return b, nil
}

// Info describes the backend.
func (b *Backend) Info() backend.Info {
	return backend.Info{
		Name:    "redis",
		Fencing: true,
		Fair:    true,
		MinTTL:  time.Second,
		MaxTTL:  24 * time.Hour,
		Reclaim: func(ttl time.Duration) time.Duration { return ttl + claimTTL(ttl) },
	}
}

// Close ends the subscriptions, and closes the client if the Backend was opened
// by URL. Calls that still run end with an error.
func (b *Backend) Close() error {
	b.mu.Lock()
	again := b.closed
	b.closed = true
	b.mu.Unlock()
	if again {
		return nil
	}
	b.end()
	var err error
	if b.own {
		err = b.client.Close()
	}
	done := make(chan struct{})
	go func() {
		b.goroutines.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(exchangeTimeout): // a client that does not heed its context
	}
	return err
}

// spawn starts a goroutine unless the backend is closed.
func (b *Backend) spawn(fn func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.goroutines.Go(fn)
	}
	return !b.closed
}

// channelOf returns the channel by which this client hears of a lock.
func (b *Backend) channelOf(k keys) string {
	if b.cluster != nil {
		return beside(k.lock, b.channel)
	}
	return b.cfg.Prefix + "~" + b.channel
}

// publish is the command that reaches channelOf.
func (b *Backend) publish() string {
	if b.cluster != nil {
		return "SPUBLISH"
	}
	return "PUBLISH"
}

// nodeOf returns the address of the server that has the keys, "" outside a
// cluster, and how to subscribe there.
func (b *Backend) nodeOf(k keys) (node string, open func(context.Context) *redis.PubSub) {
	if b.cluster == nil {
		return "", func(ctx context.Context) *redis.PubSub { return b.client.Subscribe(ctx) }
	}
	master, err := b.cluster.MasterForKey(b.life, k.lock)
	if err != nil { // the subscription is sent elsewhere, fails, and is moved
		return "", func(ctx context.Context) *redis.PubSub { return b.cluster.SSubscribe(ctx) }
	}
	return master.Options().Addr, func(ctx context.Context) *redis.PubSub { return master.SSubscribe(ctx) }
}
