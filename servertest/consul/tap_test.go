// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/consul"
	"github.com/golocker/locker/servertest"
)

// The kinds of requests, as the adapter makes them.
const (
	enqueue = "enqueue" // a transaction that stores a contender's key
	release = "release" // one that deletes it
	bury    = "bury"    // one that writes a tombstone too
	look    = "look"    // one that looks for keys
	list    = "list"    // of the keys under a name
	block   = "block"   // a blocking query for a key
	create  = "create"  // of a session, and so on
	keep    = "keep"
	watch   = "watch" // a query for the session, blocking or not
	destroy = "destroy"
	other   = "other"
)

var errNoReply = errors.New("no reply, says the test")

// A tap sees, counts and changes what a client says to its agent. It fails the
// test if a request has no deadline.
type tap struct {
	transport *http.Transport

	mu       sync.Mutex
	counts   map[string]int
	inFlight map[string]int
	most     map[string]int // in flight at a time
	endless  map[string]int // those without a deadline
	hook     hook
}

// A hook stands between the client and the agent.
type hook func(kind string, r *http.Request, send sender) (*http.Response, error)

// A sender sends the request that a hook was given.
type sender func(context.Context) (*http.Response, error)

func newTap(t testing.TB) *tap {
	tap := &tap{transport: &http.Transport{MaxIdleConnsPerHost: 2}, inFlight: map[string]int{}, endless: map[string]int{}}
	tap.reset()
	t.Cleanup(tap.transport.CloseIdleConnections)
	t.Cleanup(func() {
		tap.mu.Lock()
		defer tap.mu.Unlock()
		if len(tap.endless) > 0 {
			t.Errorf("requests had no deadline: %v", tap.endless)
		}
	})
	return tap
}

// use puts the tap into a client.
func (t *tap) use(c *api.Config) { c.HttpClient = &http.Client{Transport: t} }

// tapped opens a backend whose requests the test sees, with a prefix of the
// test's own.
func tapped(t testing.TB, server *servertest.Server) (*consul.Backend, *tap) {
	t.Helper()
	tap := newTap(t)
	return newBackend(t, native(t, server.Addr, tap.use), consul.Config{Prefix: prefix(t)}), tap
}

func (t *tap) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts, t.most = map[string]int{}, map[string]int{}
}

func (t *tap) count() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// flying counts the requests of a kind that have no answer yet, and how many
// there were at a time since reset.
func (t *tap) flying(kind string) (now, most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.inFlight[kind], t.most[kind]
}

func (t *tap) set(h hook) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hook = h
}

// RoundTrip implements [http.RoundTripper].
func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	kind := kindOf(r)
	t.mu.Lock()
	t.counts[kind]++
	t.inFlight[kind]++
	t.most[kind] = max(t.most[kind], t.inFlight[kind])
	if _, ok := r.Context().Deadline(); !ok {
		t.endless[kind]++
	}
	hook := t.hook
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.inFlight[kind]--
		t.mu.Unlock()
	}()
	send := func(ctx context.Context) (*http.Response, error) {
		copied := r.Clone(ctx)
		if r.GetBody != nil {
			copied.Body, _ = r.GetBody() // of bytes: it does not fail
		}
		return t.transport.RoundTrip(copied)
	}
	if hook == nil {
		return send(r.Context())
	}
	return hook(kind, r, send)
}

func kindOf(r *http.Request) string {
	path := r.URL.Path
	switch {
	case path == "/v1/txn":
		return kindOfTxn(r)
	case strings.HasPrefix(path, "/v1/session/"):
		kind, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/session/"), "/")
		return map[string]string{"create": create, "renew": keep, "info": watch, "destroy": destroy}[kind]
	case strings.HasPrefix(path, "/v1/kv/") && r.URL.Query().Has("recurse"):
		return list
	case strings.HasPrefix(path, "/v1/kv/") && r.URL.Query().Has("index"):
		return block
	}
	return other
}

func kindOfTxn(r *http.Request) string {
	ops := txnOf(r)
	switch verb := ops[0].KV.Verb; {
	case verb == api.KVCheckNotExists:
		return enqueue
	case verb == api.KVLock:
		return bury
	case verb == api.KVCheckSession && len(ops) == 2 && ops[1].KV.Verb == api.KVDelete:
		return release
	}
	return look
}

func txnOf(r *http.Request) (ops api.TxnOps) {
	body, err := r.GetBody()
	if err == nil {
		err = json.NewDecoder(body).Decode(&ops)
	}
	if err != nil {
		panic(err)
	}
	return ops
}

// answer makes an answer of the test's own.
func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"X-Consul-Index": {"1"}, "X-Consul-Lastcontact": {"0"}, "X-Consul-Knownleader": {"true"}},
		Body:   io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)),
	}
}

// hold keeps the next request of a kind until release is called, and lets it
// through then, whether or not its sender still waits. late carries what became
// of it.
func (t *tap) hold(tb testing.TB, kind string) (caught chan struct{}, release func() (late error)) {
	caught, released, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once, open sync.Once
	t.set(func(k string, r *http.Request, send sender) (*http.Response, error) {
		mine := false
		if k == kind {
			once.Do(func() { mine = true; close(caught) })
		}
		if !mine {
			return send(r.Context())
		}
		go func() {
			<-released
			response, err := send(context.WithoutCancel(r.Context()))
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				err = response.Body.Close()
			}
			done <- err
		}()
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	tb.Cleanup(func() { open.Do(func() { close(released) }) })
	return caught, func() error {
		open.Do(func() { close(released) })
		return <-done
	}
}

// loseReplies makes requests of some kinds be carried out, and nobody hear of
// it.
func loseReplies(which func(kind string) bool) hook {
	return func(kind string, r *http.Request, send sender) (*http.Response, error) {
		response, err := send(r.Context())
		if err != nil || !which(kind) {
			return response, err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return nil, errNoReply
	}
}

// refuse has some requests fail before they are sent.
func refuse(which func(kind string) bool) hook {
	return func(kind string, r *http.Request, send sender) (*http.Response, error) {
		if which(kind) {
			return nil, errNoReply
		}
		return send(r.Context())
	}
}

func only(kinds ...string) func(string) bool {
	return func(kind string) bool {
		for _, k := range kinds {
			if k == kind {
				return true
			}
		}
		return false
	}
}
