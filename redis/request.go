// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A request is what the adapter knows of one call of Lock, and of its grant.
type request struct {
	backend.Request
	keys    keys
	channel string // where its client listens

	mu       sync.Mutex
	inFlight int    // lock scripts whose end is not known yet
	lost     bool   // a lock script ended without an answer
	inStore  bool   // it was queued, or its script failed half-way
	place    string // in the queue; "0" before there is one
}

func (r *request) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight++
}

func (r *request) end(f fate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	r.lost = r.lost || f == unknown
	r.inStore = r.inStore || f == halfway
}

// granted says that the request is not queued any more.
func (r *request) granted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inStore = false
}

// open reports whether a lock script of this request may still be on its way.
func (r *request) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inFlight > 0 || r.lost
}

// remains reports whether anything of the request may be in the store, or come
// to be.
func (r *request) remains() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inFlight > 0 || r.lost || r.inStore
}

// lockCall returns the script that takes the lock for r, or keeps its place.
func (b *Backend) lockCall(ctx context.Context, r *request) *call {
	wait := 1
	if r.NoWait {
		wait = 0
	}
	r.mu.Lock()
	place := r.place
	r.mu.Unlock()
	return newCall(ctx, lockScript, r.keys.all(r.Owner),
		r.Owner, r.TTL.Milliseconds(), claimTTL(r.TTL).Milliseconds(), wait, place,
		b.publish(), r.channel, r.Note)
}

// An answer is the reply of the lock script.
type answer struct {
	status  string // granted, queued, locked
	token   int64
	server  int64         // the server's time, µs
	left    time.Duration // until the lock expires; negative: never
	first   bool          // queued, and nobody before it
	foreign bool          // the holder is not one of locker's

	sent  time.Time // when the script was sent
	epoch uint64    // of the subscription that was confirmed then; 0: none
}

// until returns when a granted lock expires.
func (a answer) until() time.Time { return a.sent.Add(a.left) }

// read takes the reply of a lock script, and keeps the request's place.
func (r *request) read(reply any, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	fields, ok := reply.([]any)
	status := ""
	if ok && len(fields) > 0 {
		status, _ = fields[0].(string)
	}
	if status == "withdrawn" {
		return answer{}, fmt.Errorf("the request was withdrawn")
	}
	want := map[string]int{"granted": 4, "locked": 4, "queued": 6}[status]
	if want == 0 || len(fields) != want {
		return answer{}, fmt.Errorf("redis answered a script in an unknown form")
	}
	a := answer{status: status, server: integer(fields[2]), left: time.Duration(integer(fields[3])) * time.Millisecond}
	switch status {
	case "granted":
		a.token = integer(fields[1])
	case "queued":
		a.first, a.foreign = integer(fields[4]) == 0, integer(fields[5]) == 1
		r.mu.Lock()
		r.place, r.inStore = fmt.Sprint(fields[1]), true
		r.mu.Unlock()
	}
	return a, nil
}

// integer reads an integer reply, or one that left Lua as a string.
func integer(field any) int64 {
	switch v := field.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

// A push is the news that another's script has granted the lock.
type push struct {
	owner  string
	token  int64
	server int64 // the server's time, µs
	claim  time.Duration

	read  time.Time // when it was read
	epoch uint64    // of the subscription it came by
}

func parsePush(payload string) (push, bool) {
	f := strings.Split(payload, " ")
	if len(f) != 4 {
		return push{}, false
	}
	p := push{owner: f[0], token: integer(f[1]), server: integer(f[2]), claim: time.Duration(integer(f[3])) * time.Millisecond}
	return p, p.token > 0 && p.server > 0 && p.claim > 0
}

// until returns when the pushed grant expires: the waiter's last script was
// sent no later than the server answered it, and the server says how much later
// it granted. That holds within one server's clock, so the answer must be to a
// script sent after the subscription was confirmed by which the push came.
func (p push) until(last answer) (until time.Time, ok bool) {
	if last.epoch == 0 || last.epoch != p.epoch {
		return time.Time{}, false
	}
	until = last.sent.Add(time.Duration(p.server-last.server)*time.Microsecond + p.claim)
	if latest := p.read.Add(p.claim); until.After(latest) {
		until = latest
	}
	return until, true
}

// claimTTL is how long a waiter that was granted the lock by another's script
// has to confirm that it lives, and how long a waiter lives without a sign.
func claimTTL(ttl time.Duration) time.Duration {
	return min(ttl, max(time.Second, ttl/3))
}
