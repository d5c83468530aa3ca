// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
	"github.com/golocker/locker/servertest/proxy"
)

// The calls of a backend, as all adapters' tests make them.
var (
	bounded    = backendtest.Bounded
	lock       = backendtest.Lock
	unlock     = backendtest.Unlock
	queue      = backendtest.Queue
	eventually = backendtest.Eventually
)

func startServer(t testing.TB, directives ...string) *servertest.Server {
	t.Helper()
	return servertest.Start(t, servertest.Redis(directives...))
}

// A network stands between a client and a server, and knows the commands.
type network struct {
	*proxy.Proxy
	mu  sync.Mutex
	log []string
}

func startNetwork(t testing.TB, addr string) *network {
	t.Helper()
	n := &network{Proxy: proxy.Start(t, addr, proxy.RESP)}
	n.Watch(func(request []byte) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.log = append(n.log, command(request))
	})
	return n
}

// command returns the first word of a request.
func command(request []byte) string {
	lines := bytes.SplitN(request, []byte("\r\n"), 4) // *3, $7, EVALSHA
	if len(lines) < 3 {
		return ""
	}
	return strings.ToLower(string(lines[2]))
}

func isScript(request []byte) bool { return strings.HasPrefix(command(request), "eval") }

// commands returns those that came since the last call.
func (n *network) commands() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.log
	n.log = nil
	return log
}

// scripts counts the commands that run one.
func scripts(log []string) (count int) {
	for _, c := range log {
		if strings.HasPrefix(c, "eval") {
			count++
		}
	}
	return count
}

func heal(t testing.TB, n *network) {
	t.Helper()
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
}
