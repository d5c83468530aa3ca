// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// freeAddr asks for any free port.
const freeAddr = ""

// listen is called with mu held, or before anybody else knows the proxy.
func (p *Proxy) listen(addr string) (err error) {
	if addr == freeAddr {
		p.listener, err = listenLow()
	} else {
		p.listener, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return err
	}
	listener := p.listener
	p.running.Go(func() { p.accept(listener) })
	return nil
}

// taken are the addresses of the proxies that are open. Nobody listens at that of
// one which refuses, and yet it is not free.
var taken sync.Map

// listenLow takes a port from below the range that systems use for outgoing
// connections: while the proxy refuses, nobody else shall get its port.
func listenLow() (net.Listener, error) {
	err := errors.New("no free port between 10000 and 19999")
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(10000)))
		if _, used := taken.LoadOrStore(addr, true); used {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return l, nil
		}
		taken.Delete(addr)
	}
	return nil, err
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		if p.listener != listener { // closed, or refusing
			p.mu.Unlock()
			_ = client.Close()
			continue
		}
		l := &link{proxy: p, client: client.(*net.TCPConn), done: make(chan struct{})}
		p.links[l] = struct{}{}
		p.opened++
		p.running.Go(l.run)
		p.mu.Unlock()
	}
}

func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}
