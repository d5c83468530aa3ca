// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
)

// A turn is one in a queue: ours or another client's.
type turn struct {
	who  string
	done <-chan error
	end  func()
}

// serves gives the lock to one after the other, and fails if two have it.
func serves(t *testing.T, b backend.Backend, name string, first func(), order []turn) {
	t.Helper()
	end := first
	for i, next := range order {
		for _, later := range order[i:] {
			select {
			case err := <-later.done:
				t.Fatalf("%s, in the queue, was granted a lock that another holds: %v", later.who, err)
			default:
			}
		}
		end()
		select {
		case err := <-next.done:
			if err != nil {
				t.Fatalf("%s: %v", next.who, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s, number %d in the queue, was not granted", next.who, i+1)
		}
		end = next.end
		noWait := request(name)
		noWait.NoWait = true
		if _, err := b.Lock(bounded(t), noWait); !errors.Is(err, backend.ErrLocked) {
			t.Errorf("NoWait while %s is held: %v", next.who, err)
		}
	}
	end()
}

// ours is a turn of our own, which is in the queue already.
func ours(t *testing.T, b backend.Backend, name string) turn {
	p, done := queue(t, b, request(name)), make(chan error, 1)
	go func() { <-p.Done; done <- p.Err }()
	return turn{"ours", done, func() { unlock(t, b, p.Grant) }}
}

// The driver's zk.Lock excludes us and we it, and both stand in one queue; also as
// one user, whose nodes are for nobody else.
func TestSharingWithDriversLock(t *testing.T) {
	t.Parallel()
	server := shared(t)
	for name, user := range map[string]string{"Everybody": "", "User": "app"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, server)
			acl, theirs := worldACL, func() *zk.Conn { return native(t, server.Addr) }
			if user != "" {
				cfg.User, cfg.Password = user, secret
				acl, theirs = zk.AuthACL(zk.PermAll), func() *zk.Conn { return nativeUser(t, server.Addr, user) }
			}
			b, admin := newBackend(t, cfg), theirs()
			path := chroot(t) + "/n"
			first := lock(t, b, request("n"))
			var order []turn
			for i := range 4 {
				if i%2 == 0 {
					l, done := zk.NewLock(theirs(), path, acl), make(chan error, 1)
					go func() { done <- l.Lock() }()
					order = append(order, turn{"theirs", done, func() {
						if err := l.Unlock(); err != nil {
							t.Error(err)
						}
					}})
				} else {
					order = append(order, ours(t, b, "n"))
				}
				eventually(t, "it is queued", func() bool { return len(contenders(t, admin, path)) == i+2 })
			}
			serves(t, b, "n", func() { unlock(t, b, first) }, order)
		})
	}
}

// clients starts those of other libraries, beside a server of the test's own.
func clients(t *testing.T) (server, others *servertest.Server) {
	t.Helper()
	server = servertest.Start(t, servertest.ZooKeeper())
	return server, servertest.Start(t, servertest.Spec{
		Server: "zookeeper-clients", Pod: server, Cmd: []string{"sleep", "infinity"},
		Ready: func(context.Context, string) error { return nil },
	})
}

// A peer is another library's client, in a process of its own, that takes a lock.
type peer struct {
	stdin io.Closer
	lines chan string // "held" or "busy"
	ended chan struct{}
}

func startPeer(t *testing.T, others *servertest.Server, command ...string) *peer {
	t.Helper()
	cmd := exec.Command("docker", append([]string{"exec", "-i", others.Container()}, command...)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &peer{stdin: stdin, lines: make(chan string, 1), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			p.lines <- lines.Text()
		}
		_ = cmd.Wait() // its lines have said all
	}()
	t.Cleanup(func() { _ = stdin.Close(); <-p.ended })
	return p
}

// turn is a peer's, which is in the queue already.
func (p *peer) turn(t *testing.T, who string) turn {
	done := make(chan error, 1)
	go func() {
		if line := <-p.lines; line != "held" {
			done <- errors.New("it says " + line)
			return
		}
		done <- nil
	}()
	return turn{who, done, func() {
		if err := p.stdin.Close(); err != nil {
			t.Error(err)
		}
		<-p.ended
	}}
}

func (p *peer) says(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-p.lines:
		if got != want {
			t.Fatalf("it says %q, want %q", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("it did not say %q within a minute", want)
	}
}

// Apache Curator's InterProcessMutex excludes us and we it, and both stand in one
// queue.
func TestSharingWithCurator(t *testing.T) {
	t.Parallel()
	server, others := clients(t)
	admin := native(t, server.Addr)
	b := newBackend(t, config(t, server))
	path := chroot(t) + "/n"
	first := lock(t, b, request("n"))
	startPeer(t, others, "curator-lock", path, "1").says(t, "busy")
	var order []turn
	for i := range 4 {
		if i%2 == 0 {
			order = append(order, startPeer(t, others, "curator-lock", path, "60").turn(t, "Curator"))
		} else {
			order = append(order, ours(t, b, "n"))
		}
		eventually(t, "it is queued", func() bool { return len(contenders(t, admin, path)) == i+2 })
	}
	serves(t, b, "n", func() { unlock(t, b, first) }, order)
}

// kazoo's Lock excludes us, in one queue. We exclude it if its pattern is set; if
// not it does not see us (Z5).
func TestHazard_Z5_Kazoo(t *testing.T) {
	t.Parallel()
	server, others := clients(t)
	admin := native(t, server.Addr)
	b := newBackend(t, config(t, server))
	path := chroot(t) + "/n"
	kazoo := func(args ...string) *peer {
		return startPeer(t, others, append([]string{"kazoo-lock", path}, args...)...)
	}
	first := lock(t, b, request("n"))
	kazoo("1", "-lock-").says(t, "busy")
	blind := kazoo("10")
	blind.says(t, "held") // as the documentation warns
	blind.turn(t, "").end()

	var order []turn
	for i := range 4 {
		if i%2 == 0 {
			order = append(order, kazoo("60", "-lock-").turn(t, "kazoo"))
		} else {
			order = append(order, ours(t, b, "n"))
		}
		eventually(t, "it is queued", func() bool { return len(contenders(t, admin, path)) == i+2 })
	}
	serves(t, b, "n", func() { unlock(t, b, first) }, order)

	theirs := kazoo("10")
	theirs.says(t, "held")
	noWait := request("n")
	noWait.NoWait = true
	if _, err := b.Lock(bounded(t), noWait); !errors.Is(err, backend.ErrLocked) {
		t.Errorf("NoWait while kazoo holds the lock, without a pattern: %v", err)
	}
	if err := theirs.stdin.Close(); err != nil {
		t.Error(err)
	}
	unlock(t, b, lock(t, b, request("n")))
}
