// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// A Held is one request that is kept from the server, as by a lost packet that
// is sent again much later. The client may time out, close its connection and
// clean up by another one before Release lets the request arrive.
type Held struct {
	proxy   *Proxy
	match   func(request []byte) bool
	caught  chan struct{}
	release chan struct{}
	done    chan struct{} // closed when the request was written, or never can be
	replied chan struct{}
	once    sync.Once
	sent    atomic.Bool
	err     error // set before done is closed
}

var errNothing = errors.New("proxy: no request was held")

var errGone = errors.New("proxy: the held request's connection to the server is closed")

// Hold keeps back the next request that match accepts, and all that follow it
// on its connection. match must not keep or change the bytes; nil accepts any.
func (p *Proxy) Hold(match func(request []byte) bool) *Held {
	h := &Held{
		proxy: p, match: match, caught: make(chan struct{}), release: make(chan struct{}),
		done: make(chan struct{}), replied: make(chan struct{}),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holds = append(p.holds, h)
	return h
}

// Caught is closed when a request is held.
func (h *Held) Caught() <-chan struct{} { return h.caught }

// Replied is closed when the server has sent something on the connection
// after it got the request.
func (h *Held) Replied() <-chan struct{} { return h.replied }

// Release lets the request through and returns when it has been written to the
// server, whether or not the client still waits for the reply. An error says
// that the server's side was closed, or that nothing was held; either way the
// hold is over.
func (h *Held) Release() error {
	h.once.Do(func() { close(h.release) })
	h.proxy.mu.Lock()
	armed := slices.Index(h.proxy.holds, h)
	if armed >= 0 {
		h.proxy.holds = slices.Delete(h.proxy.holds, armed, armed+1)
	}
	h.proxy.mu.Unlock()
	if armed >= 0 {
		return errNothing
	}
	<-h.done
	return h.err
}

// claim returns the first armed hold that accepts the request, nil if none does.
func (p *Proxy) claim(request []byte) *Held {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, h := range p.holds {
		if h.match == nil || h.match(request) {
			p.holds = slices.Delete(p.holds, i, i+1)
			return h
		}
	}
	return nil
}

// heard is called by the one reader of the connection from the server.
func (h *Held) heard() {
	if h != nil && h.sent.Load() && !isClosed(h.replied) {
		close(h.replied)
	}
}

// finish says what became of the request.
func (h *Held) finish(err error) {
	h.err = err
	close(h.done)
}
