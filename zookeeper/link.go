// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golocker/locker/backend"
)

// A link is one connection. It takes part in what begins it: the handshake, and
// then the driver's request to have its watches again.
type link struct {
	net.Conn
	wire *wire

	late  *time.Timer // closes it if the handshake takes too long
	sent  time.Time   // when the handshake was
	reply []byte      // to the handshake, as far as it came
	begun bool        // the handshake is over

	// With that request the driver says what it has seen last. It keeps this
	// without a lock, and any answer would move it: they wait.
	rewatched chan struct{} // closed when it has been sent; nil: there are no watches
	asked     atomic.Bool   // something has that is answered
	closed    chan struct{}
	once      struct{ rewatch, close sync.Once }
}

func newLink(w *wire, conn net.Conn) *link {
	l := &link{Conn: conn, wire: w, closed: make(chan struct{})}
	within := w.reach()
	l.late = time.AfterFunc(within, func() {
		w.failed(fmt.Errorf("%s did not answer the handshake within %v", conn.RemoteAddr(), within))
		_ = l.Close()
	})
	return l
}

func (l *link) Close() error {
	l.late.Stop()
	l.once.close.Do(func() {
		close(l.closed)
		l.wire.left(l)
	})
	return l.Conn.Close()
}

func (l *link) isClosed() bool {
	select {
	case <-l.closed:
		return true
	default:
		return false
	}
}

// Write does not tell the driver of a request that it failed, but ends the
// connection, from which the driver learns the same. Told of both it ends such a
// request twice, and waits for ever where nobody wants to know (of those that it
// makes by itself, to authenticate again).
func (l *link) Write(p []byte) (int, error) {
	if !l.begun {
		l.sent = backend.Now()
		n, err := l.Conn.Write(p)
		if err != nil {
			err = unavailable(err)
		}
		return n, err
	}
	l.requested(p)
	if _, err := l.Conn.Write(p); err != nil {
		l.wire.failed(err)
		_ = l.Close()
	}
	return len(p), nil
}

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !l.begun:
		l.wire.failed(fmt.Errorf("%s closed the connection instead of a handshake: %w", l.RemoteAddr(), err))
	case errors.Is(err, io.EOF):
		l.wire.failed(fmt.Errorf("%s closed the connection: %w", l.RemoteAddr(), err))
	default:
		l.wire.failed(err)
	}
	if !l.begun {
		l.greet(p[:n])
	} else if l.rewatched != nil && l.asked.Load() {
		select {
		case <-l.rewatched:
		case <-l.closed:
			return 0, net.ErrClosed
		}
	}
	return n, err
}

// greet reads the answer to the handshake, of which a part came.
func (l *link) greet(part []byte) {
	l.reply = append(l.reply, part...)
	h, complete := parseHandshake(l.reply)
	if !complete {
		return
	}
	l.begun, l.reply = true, nil
	l.late.Stop()
	h.sent = l.sent
	if h.session == 0 {
		l.wire.close()
		l.wire.expired()
		return
	}
	if l.wire.watching() {
		l.rewatched = make(chan struct{})
	}
	l.wire.attached(h)
	l.wire.taken(l)
}

// requested looks at a request of the driver, which writes each at once: its
// length, xid and operation, and then, if it has one, the length of its path.
func (l *link) requested(frame []byte) {
	const create, setAuth, setWatches = 1, 100, 101
	const header = 4 + 4 + 4
	if len(frame) < header {
		return
	}
	switch binary.BigEndian.Uint32(frame[header-4:]) {
	case setAuth: // it comes first, and its answer tells no zxid
		return
	case setWatches:
		if l.rewatched != nil {
			l.once.rewatch.Do(func() { close(l.rewatched) })
		}
	case create:
		path := frame[header+4:]
		l.wire.creating(string(path[:binary.BigEndian.Uint32(frame[header:])]))
	}
	l.asked.Store(true)
}
