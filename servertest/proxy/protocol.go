// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
)

// A Protocol tells one request from the next. It returns a function for each
// connection, which cuts its bytes into units that are forwarded whole: those
// with a token are requests, those with a nil token are not (a handshake, a
// part of a request). Encrypted connections are cut by [Raw] alone.
type Protocol func() bufio.SplitFunc

var errProtocol = errors.New("proxy: not the announced protocol")

// Raw takes what one read returns for a request.
func Raw() bufio.SplitFunc {
	return func(data []byte, _ bool) (int, []byte, error) { return len(data), data, nil }
}

// RESP is Redis's protocol: a request is a command, each one of a pipeline
// counts.
func RESP() bufio.SplitFunc {
	return func(data []byte, _ bool) (int, []byte, error) {
		if data[0] != '*' { // an inline command
			if data[0] < ' ' && data[0] != '\r' && data[0] != '\n' {
				return 0, nil, errProtocol
			}
			end := bytes.IndexByte(data, '\n') + 1
			return end, some(data[:end]), nil
		}
		count, at, err := respNumber(data, '*')
		for ; err == nil && at > 0 && count > 0; count-- {
			var length, header int
			length, header, err = respNumber(data[at:], '$')
			if header == 0 {
				return 0, nil, err
			}
			at += header + length + len("\r\n")
			if at > len(data) {
				return 0, nil, nil
			}
		}
		return at, some(data[:at]), err
	}
}

// respNumber reads a line like *3; its length is 0 if the line is not complete.
func respNumber(data []byte, kind byte) (number, length int, err error) {
	end := bytes.Index(data, []byte("\r\n"))
	if end < 0 {
		return 0, 0, nil
	}
	if data[0] != kind {
		return 0, 0, errProtocol
	}
	number, err = strconv.Atoi(string(data[1:end]))
	if err != nil || number < 0 {
		return 0, 0, errProtocol
	}
	return number, end + len("\r\n"), nil
}

// HTTP is HTTP/1.1 with bodies of a stated length, as Consul's client sends it.
func HTTP() bufio.SplitFunc {
	return func(data []byte, _ bool) (int, []byte, error) {
		if data[0] < 'A' || data[0] > 'Z' {
			return 0, nil, errProtocol
		}
		end := bytes.Index(data, []byte("\r\n\r\n"))
		if end < 0 {
			return 0, nil, nil
		}
		size := end + len("\r\n\r\n")
		for line := range bytes.SplitSeq(data[:end], []byte("\r\n")) {
			name, value, _ := bytes.Cut(line, []byte(":"))
			if !bytes.EqualFold(name, []byte("Content-Length")) {
				continue
			}
			length, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			if err != nil {
				return 0, nil, errProtocol
			}
			size += length
		}
		return complete(data, size)
	}
}

// GRPC is HTTP/2 as etcd's client speaks it: a request is a message, so each
// one of a stream counts, and one that needs several frames counts for each.
func GRPC() bufio.SplitFunc {
	const (
		preface   = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		header    = 9
		typeData  = 0
		typeIndex = 3
	)
	greeted := false
	return func(data []byte, _ bool) (int, []byte, error) {
		if !greeted {
			if len(data) < len(preface) {
				return 0, nil, nil
			}
			if string(data[:len(preface)]) != preface {
				return 0, nil, errProtocol
			}
			greeted = true
			return len(preface), nil, nil
		}
		if len(data) < header {
			return 0, nil, nil
		}
		length := int(data[0])<<16 | int(data[1])<<8 | int(data[2])
		advance, token, err := complete(data, header+length)
		if data[typeIndex] != typeData || length == 0 {
			token = nil
		}
		return advance, token, err
	}
}

// ZooKeeper is a sequence of frames, each a request; pings count too.
func ZooKeeper() bufio.SplitFunc {
	return func(data []byte, _ bool) (int, []byte, error) {
		const lengthSize, longest = 4, 16 << 20
		if len(data) < lengthSize {
			return 0, nil, nil
		}
		length := binary.BigEndian.Uint32(data)
		if length > longest { // a four-letter command, say
			return 0, nil, errProtocol
		}
		return complete(data, lengthSize+int(length))
	}
}

// Postgres counts statements: simple queries and executions of prepared ones,
// each one of a pipeline.
func Postgres() bufio.SplitFunc {
	const (
		lengthSize      = 4
		longestGreeting = 10_000
		sslRequest      = 80877103
		gssRequest      = 80877104
		query           = 'Q'
		execute         = 'E'
	)
	greeted := false
	return func(data []byte, _ bool) (int, []byte, error) {
		kind := 1 // a byte that says what it is, in all messages but the first ones
		if !greeted {
			kind = 0
		}
		if len(data) < kind+lengthSize {
			return 0, nil, nil
		}
		length := binary.BigEndian.Uint32(data[kind:])
		if !greeted && (length < 2*lengthSize || length > longestGreeting) { // TLS, say
			return 0, nil, errProtocol
		}
		advance, token, err := complete(data, kind+int(length))
		if advance == 0 {
			return 0, nil, err
		}
		if !greeted {
			code := binary.BigEndian.Uint32(data[lengthSize:])
			greeted = code != sslRequest && code != gssRequest
			return advance, nil, nil
		}
		if data[0] != query && data[0] != execute {
			token = nil
		}
		return advance, token, nil
	}
}

// complete returns the first size bytes as a request, once they are there.
func complete(data []byte, size int) (int, []byte, error) {
	if size < 0 {
		return 0, nil, errProtocol
	}
	if len(data) < size {
		return 0, nil, nil
	}
	return size, data[:size], nil
}

// some turns an empty token into none.
func some(token []byte) []byte {
	if len(token) == 0 {
		return nil
	}
	return token
}
