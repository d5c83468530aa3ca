// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below the range that systems use for outgoing
// connections: the port of a stopped server must not be lent to a client.
const (
	firstPort = 20000
	ports     = 10000
)

// taken are the ports that this binary has handed out: each is free until the
// engine binds it, which is later.
var taken sync.Map

// FreePort returns a port of 127.0.0.1 that nobody listens on at the moment,
// for a server that must keep it through a restart. No port is returned twice.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(ports)
		if _, used := taken.LoadOrStore(port, true); used {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 20000 and 29999")
}
