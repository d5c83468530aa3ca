// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package consul_test

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/consul"
)

// An address that nobody answers fails in time, and says so: one that takes
// connections, and one that does not even that.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) string{"silent": silent, "dropped": dropping} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := start(t)
			check := func(what string, err error, began time.Time, within time.Duration) {
				t.Helper()
				if took := backend.Now().Sub(began); took > within+2*time.Second { // machines are slow
					t.Errorf("%s took %v", what, took)
				}
				if !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, locker.ErrLocked) || errors.Is(err, locker.ErrLost) || strings.Contains(err.Error(), appToken) {
					t.Errorf("%s: %v", what, err)
				}
			}
			began := backend.Now()
			_, err := locker.Open(bounded(t), "consul://:"+appToken+"@"+addr+"/app", nil)
			check("Open", err, began, 5*time.Second)
			if err == nil || !strings.Contains(err.Error(), addr) {
				t.Errorf("the address is not named: %v", err)
			}
			b := newBackend(t, native(t, addr), consul.Config{})
			began = backend.Now()
			g, err := b.Lock(bounded(t), request("n"))
			check("Backend.Lock", err, began, 15*time.Second)
			if g != nil {
				t.Errorf("without a session something is to be withdrawn: %+v", g)
			}
			c := newClient(t, b, usual)
			for what, opts := range map[string][]locker.Option{"Lock": nil, "Lock with NoWait": {locker.NoWait()}} {
				began = backend.Now()
				_, err = c.Lock(bounded(t), "n", opts...)
				check(what, err, began, 15*time.Second)
			}
			began = backend.Now()
			if err := c.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if took := backend.Now().Sub(began); took > 10*time.Second {
				t.Errorf("Close took %v", took)
			}
		})
	}
}

// silent returns an address that takes connections and answers nothing.
func silent(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// dropping returns an address that answers no request for a connection, since its
// queue of them is full.
func dropping(t testing.TB) string {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(socket) })
	if err := errors.Join(unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(socket, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*unix.SockaddrInet4).Port))
	for range 8 {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of connections takes more than 8")
	return ""
}
