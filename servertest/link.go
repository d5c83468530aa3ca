// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"context"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/conformance"
	"github.com/golocker/locker/servertest/proxy"
)

// A Link is a proxy as the conformance suite breaks it.
type Link struct {
	*proxy.Proxy

	// Stall has DropRequests and DropReplies keep back what they would
	// swallow, for a store whose locks end with the connection: bytes that
	// are lost in TCP end the connection.
	Stall bool

	t testing.TB

	mu    sync.Mutex
	delay time.Duration
	held  *proxy.Held
}

var _ conformance.Link = (*Link)(nil)

// StartLink starts a proxy in front of addr, which ends with the test.
func StartLink(t testing.TB, addr string) *Link {
	t.Helper()
	p, err := unlabelled(func() (*proxy.Proxy, error) { return proxy.New(addr, proxy.Raw) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &Link{Proxy: p, t: t}
}

// unlabelled keeps the proxy's goroutines out of those that the suite counts as
// the client's, by their labels.
func unlabelled(start func() (*proxy.Proxy, error)) (*proxy.Proxy, error) {
	proxies, errs := make(chan *proxy.Proxy, 1), make(chan error, 1)
	go func() {
		pprof.SetGoroutineLabels(context.Background())
		p, err := start()
		proxies <- p
		errs <- err
	}()
	return <-proxies, <-errs
}

// Inject implements [conformance.Link].
func (l *Link) Inject(f conformance.Fault) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held != nil {
		_ = l.held.Release() // an error: the server closed its side
		l.held = nil
	}
	if err := l.Heal(); err != nil {
		l.t.Error(err)
	}
	l.Proxy.Delay(l.delay / 2)
	switch f {
	case conformance.None:
	case conformance.DropRequests:
		l.drop(proxy.ToServer, l.DropRequests)
	case conformance.DropReplies:
		l.drop(proxy.ToClient, l.DropReplies)
	case conformance.BlackHole:
		l.BlackHole()
	case conformance.HoldRequests:
		l.held = l.Hold(nil)
	case conformance.Refuse:
		l.Refuse()
	default:
		return false
	}
	return true
}

func (l *Link) drop(direction proxy.Direction, swallow func()) {
	if l.Stall {
		l.Proxy.Stall(direction)
	} else {
		swallow()
	}
}

// Delay adds half to each direction: an exchange takes d longer.
func (l *Link) Delay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
	l.Proxy.Delay(d / 2)
}

// Sever ends all connections with a TCP reset.
func (l *Link) Sever() { l.Reset() }

// Connections counts those that are open.
func (l *Link) Connections() int { return l.Open() }

// Breakable is s as the conformance suite breaks it; open opens a client of s.
func (s *Server) Breakable(t testing.TB, open func(testing.TB) conformance.Client) conformance.Server {
	return conformance.Server{
		Open:    open,
		Pause:   func() func() { s.Pause(t); return func() { s.Unpause(t) } },
		Restart: func() { s.Kill(t); s.Revive(t) },
		Wipe:    func() { s.Empty(t) },
	}
}
