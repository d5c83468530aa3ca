// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// A wire is how one session reaches the servers, one connection at a time. It
// dials for the driver, and reads from the handshakes what that does not tell:
// the negotiated timeout and the session's password. Once a server has said that
// the session is over it dials no more, so that nothing which was asked of this
// session is ever done in another (Z3).
type wire struct {
	servers  []string // host:port
	dialer   Dialer
	patience time.Duration     // for a connection, and again for its handshake
	attached func(handshake)   // a server has taken the session over
	expired  func()            // a server said that there is no such session
	watching func() bool       // the driver has watches, and will ask for them again
	creating func(path string) // the creation of a node is being sent

	closed context.Context // no more connections
	close  context.CancelFunc

	mu       sync.Mutex
	turn     int  // number of connections tried
	failures int  // since a connection was seen to work
	begun    bool // a server has taken the session over
	present  *link
	serving  *link         // the present one while it has the session
	served   chan struct{} // closed when it has
	trouble  error         // why there was no connection the last time
}

// A Dialer connects to one address, host:port. A tls.Dialer's DialContext is one.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

var _ zk.HostProvider = (*wire)(nil)

func newWire(servers []string, dialer Dialer, patience time.Duration) *wire {
	w := &wire{servers: slices.Clone(servers), dialer: dialer, patience: patience, served: make(chan struct{})}
	rand.Shuffle(len(w.servers), func(i, j int) { w.servers[i], w.servers[j] = w.servers[j], w.servers[i] })
	w.closed, w.close = context.WithCancel(context.Background())
	return w
}

// Init, Len, Next and Connected are the driver's zk.HostProvider. Its own one
// waits a second before it comes back to the only server, and resolves names once.

func (w *wire) Init([]string) error { return nil }
func (w *wire) Len() int            { return len(w.servers) }
func (w *wire) Connected()          {}

// Next returns the next server. Only with pause does the driver notice that it
// was closed.
func (w *wire) Next() (server string, pause bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn++
	return w.servers[w.turn%len(w.servers)], w.closed.Err() != nil
}

// dial is the driver's zk.Dialer.
func (w *wire) dial(network, address string, _ time.Duration) (net.Conn, error) {
	pause(w.closed, w.backOff())
	ctx, cancel := context.WithTimeout(w.closed, w.reach())
	defer cancel()
	conn, err := w.dialer(ctx, network, address)
	if err != nil {
		w.failed(err)
		return nil, err
	}
	l := newLink(w, conn)
	w.mu.Lock()
	w.present = l
	w.mu.Unlock()
	if w.closed.Err() != nil {
		_ = l.Close()
	}
	return l, nil
}

// reach is how long a connection may take, and again its handshake. To open a
// session each server is tried once within the patience for that, though all but
// one are silent.
func (w *wire) reach() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun || w.turn > len(w.servers) {
		return w.patience
	}
	return min(w.patience, patience/time.Duration(len(w.servers)+1))
}

// taken records that a server has taken the session over, on a connection that is
// not closed.
func (w *wire) taken(l *link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	if l.isClosed() {
		return
	}
	if w.serving == nil {
		close(w.served)
	}
	w.serving = l
}

// left records that a connection is closed.
func (w *wire) left(l *link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.serving == l {
		w.serving, w.served = nil, make(chan struct{})
	}
}

// connected returns the connection that has the session, as soon as one has. What
// is asked of the driver before goes out on that, too, but then nobody knows on
// which one, nor which one to give up if there is no answer.
func (w *wire) connected(ctx context.Context) (*link, error) {
	for {
		w.mu.Lock()
		l, served := w.serving, w.served
		w.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-served:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// backOff is how long to wait before the next connection: not at all until every
// server was tried.
func (w *wire) backOff() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	again := w.failures - len(w.servers)
	if again <= 0 {
		return 0
	}
	return min(time.Second, w.patience/2, 10*time.Millisecond<<min(again, 10))
}

func (w *wire) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	if !errors.Is(err, net.ErrClosed) || w.trouble == nil { // closed by us, for a reason that stands there
		w.trouble = err
	}
}

// works records that a connection is of use.
func (w *wire) works() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures, w.trouble = 0, nil
}

func (w *wire) reason() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.trouble
}

// drop closes a connection: the driver tries the next server.
func (w *wire) drop(l *link, why error) {
	if l.Close() == nil {
		w.failed(why)
	}
}

func (w *wire) hangUp() {
	w.close()
	w.mu.Lock()
	l := w.present
	w.mu.Unlock()
	if l != nil {
		w.drop(l, net.ErrClosed)
	}
}
