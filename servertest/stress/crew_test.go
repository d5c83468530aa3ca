// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/golocker/locker/servertest/history"
)

// Clients that do not end are killed, and each is told: two of them at once.
func TestClientsThatHang(t *testing.T) {
	t.Parallel()
	r := &run{t: t, clients: map[string]*client{}}
	for _, name := range []string{"a", "b", "c"} {
		c := newClient(settings{Client: name}, []string{"sleep", "60"}, t.TempDir(), func(history.Event) {})
		if err := c.start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.kill)
		r.clients[name] = c
	}
	r.clients["a"].kill()
	r.await(time.Millisecond, "a", "b", "c")
	if len(r.verdicts) != 3 {
		t.Errorf("%v, want one verdict for each client", r.verdicts)
	}
	for name, c := range r.clients {
		select {
		case <-c.ended():
		default:
			t.Errorf("%s lives", name)
		}
	}
}

// A client ends with the process that started it, whatever it waits for.
func TestClientEndsWithItsRun(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "desk")
	desk, err := net.Listen("unix", socket) // one that does not answer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = desk.Close() })
	s := settings{Client: "a", URL: "file://" + t.TempDir(), TTL: time.Second, Socket: socket, Threads: 1}
	c := newClient(s, []string{executable(t), "-test.run=^$"}, t.TempDir(), func(history.Event) {})
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	conn, err := desk.Accept() // it waits for a plan
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := c.life.Close(); err != nil { // as the kernel does when this process dies
		t.Fatal(err)
	}
	select {
	case <-c.ended():
	case <-time.After(time.Minute):
		t.Error("it lives on")
	}
}
