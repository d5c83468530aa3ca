// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A tap lies in the connections of a client. It sees what is said, frame by
// frame, counts it, and loses or changes some of it.
type tap struct {
	ending sync.RWMutex // locked while a session is ended: no connection is made

	mu          sync.Mutex
	counts      map[string]int // requests, by operation
	events      int            // pushed by the server
	dials       int
	connections int
	present     *tapped   // the latest connection
	sessions    []session // of each handshake that was answered
	hook        func(m message) fate
}

// A session is what a server says at a handshake.
type session struct {
	id       int64
	timeout  time.Duration
	password []byte
	asked    time.Time
}

// A message is a request or, if reply, the answer to it.
type message struct {
	op    string
	path  string // of a request that has one
	reply bool
	data  []byte // the frame
	// Of the connection.
	session int64
}

type fate int

const (
	pass      fate = iota
	swallow        // this frame alone
	silence        // and, from the server, all that follows on the connection, as TCP has it
	cut            // and close the connection
	last           // is passed on, and then the connection closed
	overtaken      // a request, which is passed on after the next one
)

var operations = map[int32]string{
	1: "create", 2: "delete", 3: "exists", 4: "getData", 9: "sync", 11: "ping", 12: "getChildren2",
	19: "createContainer", -11: "closeSession", 100: "setAuth", 101: "setWatches",
}

func newTap() *tap { return &tap{counts: map[string]int{}} }

func (t *tap) set(hook func(m message) fate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hook = hook
}

func (t *tap) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts, t.events = map[string]int{}, 0
}

// requests are those since reset, but for handshakes and what a client sends in a
// rhythm of its own: the driver's pings and the heartbeats.
func (t *tap) requests() (counts map[string]int, events int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	counts = maps.Clone(t.counts)
	delete(counts, "handshake")
	delete(counts, "ping")
	delete(counts, "heartbeat")
	return counts, t.events
}

func (t *tap) count(op string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[op]
}

func (t *tap) dialled() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dials
}

func (t *tap) handshakes() []session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions
}

func (t *tap) fate(m message) fate {
	t.mu.Lock()
	if !m.reply {
		t.counts[m.op]++
	}
	hook := t.hook
	t.mu.Unlock()
	if hook == nil {
		return pass
	}
	return hook(m)
}

// dial is a zookeeper.Dialer.
func (t *tap) dial(ctx context.Context, network, address string) (net.Conn, error) {
	t.mu.Lock()
	t.dials++
	t.mu.Unlock()
	t.ending.RLock()
	defer t.ending.RUnlock()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connections++
	t.present = &tapped{Conn: conn, tap: t, asked: map[int32]message{}}
	return t.present, nil
}

// hangUp closes the present connection.
func (t *tap) hangUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.present.Close()
}

// driverDial is a zk.Dialer.
func (t *tap) driverDial(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.dial(ctx, network, address)
}

// A tapped connection. The client writes whole frames, and reads by length.
type tapped struct {
	net.Conn
	tap  *tap
	rest []byte // of a frame that is being read
	mute bool   // nothing of what comes is passed on
	over bool   // nothing comes after rest
	kept []byte // a request that the next one overtakes

	mu      sync.Mutex
	greeted bool // the handshake was answered
	sent    time.Time
	session int64
	asked   map[int32]message // by xid
}

func (c *tapped) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.sent.IsZero() {
		c.sent = backend.Now()
		c.mu.Unlock()
		return c.write(message{op: "handshake", data: p})
	}
	m := parseRequest(p)
	m.session = c.session
	c.asked[int32(binary.BigEndian.Uint32(p[4:]))] = m
	c.mu.Unlock()
	return c.write(m)
}

func (c *tapped) write(m message) (int, error) {
	p := m.data
	if c.kept != nil {
		p, c.kept = append(bytes.Clone(p), c.kept...), nil
	}
	switch c.tap.fate(m) {
	case overtaken:
		c.kept = bytes.Clone(m.data)
		return len(m.data), nil
	case swallow:
		return len(m.data), nil
	case cut:
		_ = c.Conn.Close()
		return len(m.data), nil
	}
	_, err := c.Conn.Write(p)
	return len(m.data), err
}

func parseRequest(frame []byte) message {
	m := message{op: operations[int32(binary.BigEndian.Uint32(frame[8:]))], data: frame}
	switch m.op {
	case "create", "createContainer", "delete", "exists", "getData", "getChildren2", "sync":
		length := binary.BigEndian.Uint32(frame[12:])
		m.path = string(frame[16 : 16+length])
	}
	if m.op == "delete" && m.path[len(m.path)-len("/~never"):] == "/~never" {
		m.op = "heartbeat"
	}
	return m
}

func (c *tapped) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.over {
			_ = c.Conn.Close()
			return 0, io.EOF
		}
		frame, err := readFrame(c.Conn)
		if err != nil {
			return 0, err
		}
		m, known := c.parseReply(frame)
		f := pass
		if known {
			f = c.tap.fate(m)
		}
		c.mute = c.mute || f == silence
		switch {
		case f == cut:
			_ = c.Conn.Close()
			return 0, io.ErrUnexpectedEOF
		case (f == pass || f == last) && !c.mute:
			c.rest, c.over = frame, f == last
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *tapped) parseReply(frame []byte) (m message, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.greeted {
		c.greeted = true
		c.session = int64(binary.BigEndian.Uint64(frame[12:]))
		c.tap.mu.Lock()
		defer c.tap.mu.Unlock()
		c.tap.sessions = append(c.tap.sessions, session{
			id: c.session, timeout: time.Duration(binary.BigEndian.Uint32(frame[8:])) * time.Millisecond,
			password: append([]byte(nil), frame[24:40]...), asked: c.sent,
		})
		return message{op: "handshake", reply: true, data: frame, session: c.session}, true
	}
	xid := int32(binary.BigEndian.Uint32(frame[4:]))
	if xid == -1 {
		c.tap.mu.Lock()
		defer c.tap.mu.Unlock()
		c.tap.events++
		return m, false
	}
	m, known = c.asked[xid]
	delete(c.asked, xid)
	m.reply, m.data, m.session = true, frame, c.session
	return m, known
}

// readFrame returns a frame with its length before it.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// lose loses the next n answers to an operation, and counts them in lost.
func (t *tap) lose(n int32, how fate, op string) (lost *atomic.Int32) {
	lost = new(atomic.Int32)
	t.set(func(m message) fate {
		if !m.reply || m.op != op {
			return pass
		}
		if lost.Add(1) > n {
			lost.Add(-1)
			return pass
		}
		return how
	})
	return lost
}

// end ends a session of which the tap has seen the handshake, as an administrator
// can. The server closes the client's connection for that, and the client's next one
// has to wait: a server that greets it between the request to close and the end
// leaves it open, and answers nothing on it, which only a heartbeat finds.
func (t *tap) end(tb testing.TB, s session, addr string) {
	tb.Helper()
	t.ending.Lock()
	defer t.ending.Unlock()
	body := make([]byte, 4+8, 64)
	body = binary.BigEndian.AppendUint32(body, uint32(s.timeout.Milliseconds()))
	body = binary.BigEndian.AppendUint64(body, uint64(s.id))
	body = binary.BigEndian.AppendUint32(body, uint32(len(s.password)))
	body = append(body, s.password...)
	frames := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	frames = append(frames, 0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf5)
	eventually(tb, "the server says that the session is over", func() bool {
		conn, err := (&net.Dialer{}).DialContext(bounded(tb), "tcp", addr)
		if err != nil {
			tb.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(frames); err != nil {
			return false
		}
		reply, err := readFrame(conn)
		if err != nil {
			return false
		}
		over := binary.BigEndian.Uint64(reply[12:]) == 0
		_, _ = readFrame(conn) // its end, or the answer
		return over
	})
}
