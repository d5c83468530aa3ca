// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/golocker/locker/servertest/proxy"
)

// A tap stands between clients and a server, on connections without TLS, and
// understands what they say. The server does not hear of a client's end before
// the end of the test.
type tap struct {
	network, server string
	asked           func(request []byte)
	said            func(pgproto3.BackendMessage)

	listener net.Listener
	running  sync.WaitGroup
	mu       sync.Mutex
	ended    bool
	conns    []net.Conn
}

// startTap returns the address of a tap that stands before a server, in the same
// network, tcp or unix.
//
// asked is called with each statement before it is passed on. said is called with each message of the
// server before it is passed on: it may change the message, and while it blocks
// nothing more is read from the server. Either may be nil, and may be called by
// several connections at once.
func startTap(t testing.TB, network, server string, asked func([]byte), said func(pgproto3.BackendMessage)) (addr string) {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), filepath.Base(server))
	}
	listener, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{network: network, server: server, asked: asked, said: said, listener: listener}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return listener.Addr().String()
}

func (p *tap) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.network, p.server)
		if err != nil || !p.keep(client, server) {
			_ = client.Close()
			continue
		}
		p.running.Go(func() { p.ask(client, server) })
		p.running.Go(func() { p.answer(client, server) })
	}
}

// ask passes on what the client says.
func (p *tap) ask(client, server net.Conn) {
	split := proxy.Postgres()
	buffer := make([]byte, 64<<10)
	var rest []byte
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		rest = append(rest, buffer[:n]...)
		for {
			advance, request, err := split(rest, false)
			if err != nil || advance == 0 {
				break
			}
			if request != nil && p.asked != nil {
				p.asked(request)
			}
			rest = rest[advance:]
		}
		_, _ = server.Write(buffer[:n]) // it may be gone
	}
}

// answer passes on what the server says, until it hangs up.
func (p *tap) answer(client, server net.Conn) {
	defer client.Close()
	messages := pgproto3.NewFrontend(server, server)
	for {
		msg, err := messages.Receive()
		if err != nil {
			return
		}
		if p.said != nil {
			p.said(msg)
		}
		raw, err := msg.Encode(nil)
		if err != nil {
			return
		}
		_, _ = client.Write(raw) // it may be gone
	}
}

// keep has the connections closed at the end of the test. It is false after that.
func (p *tap) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

func (p *tap) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.ended = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}
