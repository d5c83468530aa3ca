// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A handshake is what begins each connection: its answer says which session it
// serves, and for how long that lives without it.
type handshake struct {
	sent     time.Time // the request
	timeout  time.Duration
	session  int64 // zero: the session is over
	password []byte
}

const (
	passwordSize = 16
	closeSession = -11 // an operation
	closeXid     = 1
)

// request asks for h's session. It takes a server for young enough whatever that
// has seen: it is not for reading.
func (h handshake) request() []byte {
	const zxid = 0
	var body []byte
	body = binary.BigEndian.AppendUint32(body, 0) // version of the protocol
	body = binary.BigEndian.AppendUint64(body, zxid)
	body = binary.BigEndian.AppendUint32(body, uint32(h.timeout.Milliseconds()))
	body = binary.BigEndian.AppendUint64(body, uint64(h.session))
	body = binary.BigEndian.AppendUint32(body, uint32(len(h.password)))
	return frame(append(body, h.password...))
}

// parseHandshake reads an answer, which may have come in part.
func parseHandshake(reply []byte) (h handshake, complete bool) {
	const header = 4 + 4 // length, version of the protocol
	const size = header + 4 + 8 + 4 + passwordSize
	if len(reply) < size {
		return handshake{}, false
	}
	fields := reply[header:size]
	h.timeout = time.Duration(binary.BigEndian.Uint32(fields)) * time.Millisecond
	h.session = int64(binary.BigEndian.Uint64(fields[4:]))
	h.password = append(h.password, fields[4+8+4:]...)
	return h, true
}

// end ends a session, by a connection of its own: the driver's may be gone, and
// would not say whether it succeeded. After nil the session surely is no more.
func (w *wire) end(ctx context.Context, h handshake) error {
	server, _ := w.Next()
	conn, err := w.dialer(ctx, "tcp", server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := conn.Write(h.request()); err != nil {
		return err
	}
	reply, err := readFrame(conn)
	if err != nil {
		return err
	}
	now, complete := parseHandshake(reply)
	if !complete {
		return errors.New("zookeeper: the answer to a handshake is too short")
	}
	if now.session == 0 {
		return nil
	}
	operation := int32(closeSession)
	body := binary.BigEndian.AppendUint32(nil, closeXid)
	if _, err := conn.Write(frame(binary.BigEndian.AppendUint32(body, uint32(operation)))); err != nil {
		return err
	}
	for {
		reply, err := readFrame(conn)
		if err != nil {
			return err
		}
		if len(reply) >= 8 && binary.BigEndian.Uint32(reply[4:]) == closeXid {
			return nil
		}
	}
}

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// readFrame returns a frame with its length before it.
func readFrame(conn net.Conn) ([]byte, error) {
	const longest = 1 << 20
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > longest {
		return nil, fmt.Errorf("zookeeper: a frame of %d bytes", n)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(conn, body)
	return append(length[:], body...), err
}
