// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package proxy is a TCP proxy for tests: a stable address in front of a
// server, and the faults of a network as methods.
//
// Faults act on all connections, present and future, until [Proxy.Heal], save
// Sever, Reset, CutAfter and Hold, which happen once. They may be combined.
// A connection that has lost bytes (DropReplies, DropRequests, LoseReplies) is closed when
// the network heals, since a TCP stream never has a hole.
package proxy

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// A Direction is one of the two ways through a connection.
type Direction int

const (
	// ToServer is the way of requests.
	ToServer Direction = iota
	// ToClient is the way of replies and pushes.
	ToClient
)

// A Proxy forwards connections from its address to a server. Its methods are
// safe for concurrent use.
type Proxy struct {
	addr     string
	protocol Protocol
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu       sync.Mutex
	upstream string
	listener net.Listener // nil while refusing
	links    map[*link]struct{}
	faults   faults
	changed  chan struct{} // closed at each change of faults
	holds    []*Held       // armed, in the order of Hold
	watch    func([]byte)
	opened   int
	requests int
}

// faults is what is wrong with the network now; its zero value is nothing.
type faults struct {
	blackHole bool
	drop      [2]bool
	stall     [2]bool
	delay     [2]time.Duration
	every     int // which reply is lost; 0: none
	replies   int // since the last lost one
	cut       [2]bool
	left      [2]int // bytes until the cut
}

// Start runs a proxy on a free port of 127.0.0.1 until the test ends.
func Start(t testing.TB, upstream string, protocol Protocol) *Proxy {
	t.Helper()
	p, err := New(upstream, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// New runs a proxy on a free port of 127.0.0.1, which Close ends. The protocol
// tells one request from the next, to count and to hold them; with nil, what
// one read returns counts as a request.
func New(upstream string, protocol Protocol) (*Proxy, error) {
	if protocol == nil {
		protocol = Raw
	}
	p := &Proxy{upstream: upstream, protocol: protocol, links: map[*link]struct{}{}, changed: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if err := p.listen(freeAddr); err != nil {
		p.cancel()
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p.addr = p.listener.Addr().String()
	return p, nil
}

// Addr is the proxy's address, host:port. It never changes.
func (p *Proxy) Addr() string { return p.addr }

// Close closes all connections, held ones too, and waits until nothing runs.
func (p *Proxy) Close() {
	p.cancel()
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for l := range p.links {
		l.close()
	}
	p.mu.Unlock()
	p.running.Wait()
	taken.Delete(p.addr)
}

// SetUpstream leads connections opened from now on to another address.
func (p *Proxy) SetUpstream(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = addr
}

// Sever closes all connections in good order (FIN). New ones are accepted. The
// server's side of a held request stays open.
func (p *Proxy) Sever() { p.each((*link).sever) }

// Reset ends all connections with a TCP reset. New ones are accepted. The
// server's side of a held request stays open.
func (p *Proxy) Reset() { p.each((*link).reset) }

// Refuse severs all connections and refuses new ones until Heal.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	p.mu.Unlock()
	p.Sever()
}

// DropReplies swallows what the server sends: requests are carried out, and
// nobody hears of it.
func (p *Proxy) DropReplies() { p.change(func(f *faults) { f.drop[ToClient] = true }) }

// DropRequests swallows what clients send.
func (p *Proxy) DropRequests() { p.change(func(f *faults) { f.drop[ToServer] = true }) }

// LoseReplies swallows every n-th of what the server sends, counted over all
// connections, and whatever follows it on its connection.
func (p *Proxy) LoseReplies(n int) { p.change(func(f *faults) { f.every, f.replies = n, 0 }) }

// BlackHole lets nothing pass in either direction. Connections stay open, new
// ones are accepted; what was sent meanwhile arrives after Heal, as TCP's
// retransmission has it.
func (p *Proxy) BlackHole() { p.change(func(f *faults) { f.blackHole = true }) }

// HangUp is a BlackHole in which the server's side of all connections is reset, as a
// gateway does that has forgotten them: clients hear of it after Heal.
func (p *Proxy) HangUp() {
	p.BlackHole()
	p.each((*link).hangUp)
}

// Stall keeps back what is sent in one direction, on connections that stay open;
// it arrives after Heal, as TCP's retransmission has it.
func (p *Proxy) Stall(dir Direction) { p.change(func(f *faults) { f.stall[dir] = true }) }

// Delay adds d to each direction, to what is sent from now on.
func (p *Proxy) Delay(d time.Duration) {
	p.change(func(f *faults) { f.delay = [2]time.Duration{d, d} })
}

// DelayOne is Delay in one direction; the other stays as it is.
func (p *Proxy) DelayOne(dir Direction, d time.Duration) {
	p.change(func(f *faults) { f.delay[dir] = d })
}

// CutAfter closes the connection that carries the n-th byte in that direction,
// counted over all connections from now on. That byte still passes; with 0 the
// next byte does not.
func (p *Proxy) CutAfter(dir Direction, n int) {
	p.change(func(f *faults) { f.cut[dir], f.left[dir] = true, n })
}

// Heal ends all faults. It does not release held requests. An error means that
// somebody took the port while the proxy refused connections.
func (p *Proxy) Heal() error {
	p.change(func(f *faults) { *f = faults{} })
	p.each(func(l *link) {
		if l.holed.Load() {
			l.sever()
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil || p.ctx.Err() != nil {
		return nil
	}
	if err := p.listen(p.addr); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}

// Opened counts the connections that clients opened since the start.
func (p *Proxy) Opened() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

// Open counts the connections that clients have open now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := 0
	for l := range p.links {
		if !l.clientGone.Load() {
			open++
		}
	}
	return open
}

// Requests counts the requests that clients sent since the start, whatever
// became of them.
func (p *Proxy) Requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// Watch calls f with each request that comes from now on, before it is
// forwarded; nil ends that. f may be called by several connections at once
// and must neither keep nor change the bytes.
func (p *Proxy) Watch(f func(request []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watch = f
}

func (p *Proxy) each(do func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		do(l)
	}
}

func (p *Proxy) change(set func(*faults)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set(&p.faults)
	close(p.changed)
	p.changed = make(chan struct{})
}

// now returns the present faults, and a channel that is closed when they change.
func (p *Proxy) now() (faults, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults, p.changed
}
