// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/backend"
)

// queueLength bounds what one direction of a connection keeps back, in units
// of a read or a request.
const queueLength = 1024

// A link is one client's connection and the one to the server that serves it.
// Each direction has a reader, which never stops for a fault, so that the end
// of a connection is always noticed, and a writer, which does.
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	mu     sync.Mutex   // guards server until dial has returned
	server *net.TCPConn // nil if the dial failed
	done   chan struct{}
	once   sync.Once

	clientGone atomic.Bool
	holed      atomic.Bool          // bytes were swallowed
	held       atomic.Pointer[Held] // the last one
}

// A unit is forwarded as a whole.
type unit struct {
	data    []byte
	request bool
	due     time.Time // zero: at once
}

func (l *link) run() {
	defer l.proxy.forget(l)
	defer l.close()
	if !l.dial() {
		_ = l.client.SetLinger(0)
		return
	}
	var group sync.WaitGroup
	requests, replies := make(chan unit, queueLength), make(chan unit, queueLength)
	group.Go(func() { l.read(l.client, requests, l.proxy.protocol(), ToServer) })
	group.Go(func() { l.read(l.server, replies, Raw(), ToClient) })
	group.Go(func() { l.write(l.server, requests, ToServer) })
	group.Go(func() { l.write(l.client, replies, ToClient) })
	group.Wait()
}

// dial connects to the server, once the network lets it.
func (l *link) dial() bool {
	if !l.await(func(f faults) bool { return !f.blackHole }) {
		return false
	}
	l.proxy.mu.Lock()
	upstream := l.proxy.upstream
	l.proxy.mu.Unlock()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(l.proxy.ctx, "tcp", upstream)
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server = conn.(*net.TCPConn)
	select {
	case <-l.done: // severed while it dialled
		_ = l.server.Close()
		return false
	default:
		return true
	}
}

// read cuts what comes into units, until the connection ends.
func (l *link) read(from *net.TCPConn, queue chan<- unit, split bufio.SplitFunc, dir Direction) {
	defer close(queue)
	if dir == ToServer {
		defer l.clientGone.Store(true)
	}
	buffer := make([]byte, 64<<10)
	var rest []byte
	for {
		n, err := from.Read(buffer)
		rest = append(rest, buffer[:n]...)
		for len(rest) > 0 {
			advance, token, splitErr := split(rest, err != nil)
			if splitErr != nil { // not the protocol that was announced
				split, advance, token = Raw(), len(rest), rest
			}
			if advance == 0 {
				if err == nil {
					break
				}
				advance = len(rest) // half a request is forwarded as it is
			}
			u := unit{data: rest[:advance:advance], request: dir == ToServer && token != nil}
			rest = rest[advance:]
			if !l.enqueue(queue, u, dir) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) enqueue(queue chan<- unit, u unit, dir Direction) bool {
	p := l.proxy
	p.mu.Lock()
	if d := p.faults.delay[dir]; d > 0 {
		u.due = backend.Now().Add(d)
	}
	watch := p.watch
	if u.request {
		p.requests++
	}
	p.mu.Unlock()
	if u.request && watch != nil {
		watch(u.data)
	}
	if dir == ToClient {
		l.held.Load().heard()
	}
	select {
	case queue <- u:
		return true
	case <-l.done:
		return false
	}
}

// write forwards units, as the present faults have it.
func (l *link) write(to *net.TCPConn, queue <-chan unit, dir Direction) {
	for u := range queue {
		if !l.forward(to, u, dir) {
			l.close()
			return
		}
	}
	// The sender has ended. The end of a connection travels like its bytes.
	if !l.await(func(f faults) bool { return !f.blackHole && !f.drop[dir] && !f.stall[dir] }) {
		return
	}
	if h := l.held.Load(); dir == ToServer && h != nil {
		// Servers drop a request whose client has hung up: the end must not
		// come before the reply.
		select {
		case <-h.replied:
		case <-l.done:
			return
		}
	}
	_ = to.CloseWrite()
}

// forward returns false if the connection is over.
func (l *link) forward(to *net.TCPConn, u unit, dir Direction) bool {
	if !u.due.IsZero() && !l.sleep(u.due.Sub(backend.Now())) {
		return false
	}
	if !l.await(func(f faults) bool { return !f.blackHole && !f.stall[dir] }) {
		return false
	}
	if dir == ToServer && u.request {
		if h := l.proxy.claim(u.data); h != nil {
			return l.hold(h, to, u.data)
		}
	}
	pass, fate := l.proxy.fate(l, dir, len(u.data))
	if fate == swallow {
		return true
	}
	if _, err := to.Write(u.data[:pass]); err != nil {
		// The reply to a held request has nobody to go to.
		return dir == ToClient && l.held.Load() != nil
	}
	return fate == whole
}

func (l *link) hold(h *Held, server io.Writer, request []byte) bool {
	l.held.Store(h)
	close(h.caught)
	select {
	case <-h.release:
	case <-l.done:
		h.finish(errGone)
		return false
	}
	h.sent.Store(true)
	_, err := server.Write(request)
	h.finish(err)
	return err == nil
}

// sever and reset spare the server's side of a held request.
func (l *link) sever() {
	if h := l.held.Load(); h != nil && !isClosed(h.replied) {
		_ = l.client.Close()
		return
	}
	l.close()
}

func (l *link) reset() {
	_ = l.client.SetLinger(0)
	l.mu.Lock()
	if l.server != nil && l.held.Load() == nil {
		_ = l.server.SetLinger(0)
	}
	l.mu.Unlock()
	l.sever()
}

// hangUp ends the server's side alone. What is under way ends with it once the network
// lets the client hear of that.
func (l *link) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server != nil {
		_ = l.server.SetLinger(0)
		_ = l.server.Close()
	}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.done)
		l.mu.Lock()
		defer l.mu.Unlock()
		_ = l.client.Close()
		if l.server != nil {
			_ = l.server.Close()
		}
	})
}

// await waits until the faults are as wanted; false if the connection ends first.
func (l *link) await(wanted func(faults) bool) bool {
	for {
		f, changed := l.proxy.now()
		if wanted(f) {
			return !isClosed(l.done)
		}
		select {
		case <-changed:
		case <-l.done:
			return false
		}
	}
}

func (l *link) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.done:
		return false
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
