// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
)

func TestClaimTTL(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, 2 * time.Second: time.Second, 3 * time.Second: time.Second,
		30 * time.Second: 10 * time.Second, time.Hour: 20 * time.Minute,
	} {
		if got := claimTTL(ttl); got != want {
			t.Errorf("%v: %v, want %v", ttl, got, want)
		}
	}
}

// G2b: when a pushed grant ends.
func TestHazard_G2b_Until(t *testing.T) {
	t0 := backend.Now()
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	for _, c := range []struct {
		name string
		last answer
		push push
		want time.Duration // after t0; 0: not to be told
	}{
		{
			"the server's time since the last answer counts from when that was asked for",
			answer{sent: at(0), server: 1e6, epoch: 1},
			push{server: 5e6, claim: time.Second, read: at(10 * time.Second), epoch: 1},
			5 * time.Second,
		},
		{
			"never later than a claim after it was read, whatever the server's clock says",
			answer{sent: at(0), server: 1e6, epoch: 1},
			push{server: 3601e6, claim: time.Second, read: at(10 * time.Second), epoch: 1},
			11 * time.Second,
		},
		{
			"a clock that was set back makes it earlier",
			answer{sent: at(10 * time.Second), server: 5e6, epoch: 1},
			push{server: 1e6, claim: time.Second, read: at(10 * time.Second), epoch: 1},
			7 * time.Second,
		},
		{"no answer under a subscription", answer{sent: at(0), server: 1e6}, push{server: 5e6, claim: time.Second, read: at(0)}, 0},
		{"another subscription: perhaps another server", answer{sent: at(0), server: 1e6, epoch: 1}, push{server: 5e6, claim: time.Second, read: at(0), epoch: 2}, 0},
	} {
		until, ok := c.push.until(c.last)
		if ok != (c.want != 0) || ok && !until.Equal(at(c.want)) {
			t.Errorf("%s: %v, %v; want %v", c.name, until.Sub(t0), ok, c.want)
		}
	}
}

// G2b: a waiter whose pushed grant is over, or nearly, asks again.
func TestHazard_G2b_TooLate(t *testing.T) {
	const ttl = 30 * time.Second // the claim is 10 s, the margin 1.5 s
	for _, c := range []struct {
		ago  time.Duration // when the last answer was asked for, and the grant made
		want bool
	}{{0, true}, {8 * time.Second, true}, {9 * time.Second, false}, {time.Minute, false}} {
		w := &waiter{request: &request{Request: backend.Request{TTL: ttl}}, news: make(chan struct{}, 1)}
		w.note(answer{status: "queued", sent: backend.Now().Add(-c.ago), server: 1e6, epoch: 1})
		w.push(push{token: 7, server: 1e6, claim: claimTTL(ttl), read: backend.Now(), epoch: 1})
		r, ok := w.listen(context.Background(), context.Background(), -1)
		if r.err != nil || ok != c.want || ok && (r.status != "granted" || r.token != 7) {
			t.Errorf("%v ago: %+v, %v", c.ago, r, ok)
		}
	}
}

// Pushes are dated by the script that was sent last, in whatever order answers come.
func TestNoteKeepsTheLatest(t *testing.T) {
	t0 := backend.Now()
	w := &waiter{}
	w.note(answer{sent: t0.Add(time.Second), server: 2})
	w.note(answer{sent: t0, server: 1})
	if w.last.server != 2 {
		t.Errorf("an older answer replaced a later one")
	}
}

func TestParsePush(t *testing.T) {
	got, ok := parsePush("OWNER 1795525830203900 1795525830203901 1000")
	want := push{owner: "OWNER", token: 1795525830203900, server: 1795525830203901, claim: time.Second}
	if !ok || got != want {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, bad := range []string{"", "a", "a 1 2", "a 1 2 3 4", "a x 2 3", "a 1 x 3", "a 1 2 x", "a 0 2 3", "a 1 2 -3"} {
		if got, ok := parsePush(bad); ok {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestRead(t *testing.T) {
	r := &request{place: "0"}
	for _, c := range []struct {
		reply any
		want  answer
		bad   string
	}{
		{[]any{"granted", "17", "5", int64(3000)}, answer{status: "granted", token: 17, server: 5, left: 3 * time.Second}, ""},
		{[]any{"locked", "0", "5", int64(-1)}, answer{status: "locked", server: 5, left: -time.Millisecond}, ""},
		{[]any{"queued", "42", "5", int64(10), int64(0), int64(1)}, answer{status: "queued", server: 5, left: 10 * time.Millisecond, first: true, foreign: true}, ""},
		{[]any{"queued", "42", "5", int64(10), int64(2), int64(0)}, answer{status: "queued", server: 5, left: 10 * time.Millisecond}, ""},
		{[]any{"withdrawn"}, answer{}, "withdrawn"},
		{[]any{"granted"}, answer{}, "unknown form"},
		{[]any{}, answer{}, "unknown form"},
		{"OK", answer{}, "unknown form"},
		{nil, answer{}, "unknown form"},
	} {
		got, err := r.read(c.reply, nil)
		if c.bad == "" && (err != nil || got != c.want) || c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%v: %+v, %v", c.reply, got, err)
		}
	}
	if r.place != "42" || !r.remains() {
		t.Errorf("place %q, remains: %v", r.place, r.remains())
	}
}

// When a queued waiter asks by itself.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		answer
		want time.Duration
	}{
		{answer{left: time.Second}, -1},
		{answer{left: time.Second, foreign: true}, -1},
		{answer{left: time.Second, first: true}, time.Second + time.Millisecond},
		{answer{left: 0, first: true}, time.Millisecond},
		{answer{left: -time.Millisecond, first: true}, -1},
		{answer{left: time.Minute, first: true, foreign: true}, foreignPause},
		{answer{left: -time.Millisecond, first: true, foreign: true}, foreignPause},
		{answer{left: 100 * time.Millisecond, first: true, foreign: true}, 101 * time.Millisecond},
	} {
		if got := c.next(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.answer, got, c.want)
		}
	}
}

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

func TestFate(t *testing.T) {
	dial := &net.OpError{Op: "dial", Err: errors.New("refused")}
	for _, c := range []struct {
		err         error
		want        fate
		unavailable bool
	}{
		{nil, answered, false},
		{redisError("NOPERM this user has no permissions"), refused, false},
		{redisError("OOM command not allowed. script: f, on @user_script:3."), full, false},
		{redisError("ERR Error running script (call to f_1): @user_script:3: @user_script: 3: -OOM command not allowed"), full, false},
		{redisError("WRONGTYPE Operation. script: f, on @user_script:3."), halfway, false},
		{redisError("ERR Error running script (call to f_1): @user_script:3: x"), halfway, false},
		{redisError("TRYAGAIN Multiple keys request during rehashing of slot"), postponed, true},
		{redisError("LOADING Redis is loading the dataset in memory"), postponed, true},
		{redisError("READONLY You can't write against a read only replica."), postponed, true},
		{redisError("ERR max number of clients reached"), postponed, true},
		{fmt.Errorf("failed to authenticate: %w", redisError("WRONGPASS invalid")), refused, false},
		{refusal("too old"), refused, false},
		{errClosed, refused, false},
		{redis.ErrClosed, refused, false},
		{&tls.CertificateVerificationError{Err: errors.New("x")}, refused, false},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, refused, false},
		{dial, unsent, true},
		{fmt.Errorf("wrapped: %w", dial), unsent, true},
		{redis.ErrPoolTimeout, unsent, true},
		{io.EOF, unknown, true},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, unknown, true},
		{context.DeadlineExceeded, unknown, true},
	} {
		if got := fateOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
		err := unavailable(c.err)
		if errors.Is(err, backend.ErrUnavailable) != c.unavailable || !errors.Is(err, c.err) && c.err != nil && reflect.TypeOf(c.err).Comparable() {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

// An Unlock fences while a lock script of its owner may still be on its way.
func TestOpen(t *testing.T) {
	r := &request{}
	if r.open() || r.remains() {
		t.Error("nothing was sent")
	}
	r.begin()
	if !r.open() || !r.remains() {
		t.Error("a script is on its way")
	}
	for _, f := range []fate{answered, refused, full, postponed, unsent} {
		r.end(f)
		if r.open() || r.remains() {
			t.Errorf("after fate %d", f)
		}
		r.begin()
	}
	r.end(halfway)
	if r.open() || !r.remains() {
		t.Error("what a script did before it failed stands, and no more will come")
	}
	r.begin()
	r.end(unknown)
	r.begin()
	r.end(answered)
	if !r.open() {
		t.Error("one script never ended")
	}
}
