// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
)

// The token grows though the server removes the container, or another makes the
// parent, and though the server is killed. The number of the nodes does not.
func TestTokenOutlivesContainer(t *testing.T) {
	t.Parallel()
	spec := servertest.ZooKeeper()
	spec.Env["JVMFLAGS"] += " -Dznode.container.checkIntervalMs=200"
	server := servertest.Start(t, spec)
	admin := native(t, server.Addr)
	b := newBackend(t, config(t, server))
	path := chroot(t) + "/n"
	var last int64
	containers := map[int64]bool{} // by the zxid that made them
	again := func(what string) {
		t.Helper()
		g := lock(t, b, request("n"))
		p := queue(t, b, request("n"))
		if exists, stat, err := admin.Exists(path); err == nil && exists {
			containers[stat.Czxid] = true
		}
		unlock(t, b, g)
		next := p.Granted(t, 10*time.Second)
		if g.Token <= last || next.Token <= g.Token {
			t.Errorf("%s: the tokens %d, %d after %d", what, g.Token, next.Token, last)
		}
		last = next.Token
		unlock(t, b, next)
	}
	gone := func() bool {
		exists, _, err := admin.Exists(path)
		return err == nil && !exists
	}
	again("at first")
	eventually(t, "the server removes the container", gone)
	again("after the server had removed the container")
	if len(containers) != 2 {
		t.Errorf("%d containers", len(containers))
	}
	// The server looks for empty containers far too seldom to meet one between two
	// locks; what it does then, it does for whoever asks.
	var cleaner sync.WaitGroup
	cleaning, stop := context.WithCancel(t.Context())
	defer stop()
	cleaner.Go(func() {
		for cleaning.Err() == nil {
			if exists, stat, err := admin.Exists(path); err == nil && exists && stat.Cversion > 0 && stat.NumChildren == 0 {
				_ = admin.Delete(path, -1) // refused if somebody came first
			}
		}
	})
	eventually(t, "containers are removed between the locks", func() bool {
		again("as the container is removed")
		return len(containers) >= 10
	})
	stop()
	cleaner.Wait()
	eventually(t, "the server removes the container", gone)
	if _, err := admin.Create(path, nil, zk.FlagPersistent, worldACL); err != nil {
		t.Fatal(err)
	}
	again("with a parent that another made")
	server.Kill(t)
	server.Revive(t)
	b = newBackend(t, config(t, server))
	again("after the server was killed")
}

// A server before 3.5.3 answers a request for a container that it does not know
// it, and closes the connection. The parent is then an ordinary node, which goes
// with its last contender.
func TestServerWithoutContainers(t *testing.T) {
	t.Parallel()
	server := shared(t)
	admin := native(t, server.Addr)
	cfg, tap := config(t, server), newTap()
	cfg.Dialer = tap.dial
	a, b := newBackend(t, cfg), newBackend(t, cfg)
	var mu sync.Mutex
	refusals := 0
	tap.set(func(m message) fate {
		if m.op != "createContainer" || !m.reply {
			return pass
		}
		mu.Lock()
		defer mu.Unlock()
		refusals++
		if binary.BigEndian.Uint32(m.data[16:]) == 0 { // the real server has made it
			remove(t, admin, chroot(t)+"/n")
		}
		unimplemented := int32(-6)
		binary.BigEndian.PutUint32(m.data[16:], uint32(unimplemented))
		return last
	})
	works(t, a, b)
	held, err := a.Lock(bounded(t), request("n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, stat, err := admin.Exists(chroot(t) + "/n"); err != nil || stat.EphemeralOwner != 0 {
		t.Errorf("the parent is a container: %+v %v", stat, err)
	}
	p := queue(t, b, request("n"))
	unlock(t, a, held)
	unlock(t, b, p.Granted(t, 10*time.Second))
	noWait := func(b backend.Backend) {
		r := request("n")
		r.NoWait = true
		if _, err := b.Lock(bounded(t), r); !errors.Is(err, backend.ErrLocked) {
			t.Errorf("NoWait: %v", err)
		}
	}
	held = lock(t, a, request("n"))
	noWait(b)
	unlock(t, a, held)
	eventually(t, "the parent is removed", func() bool {
		exists, _, err := admin.Exists(chroot(t) + "/n")
		return err == nil && !exists
	})
	mu.Lock()
	defer mu.Unlock()
	if refusals == 0 || refusals > 2 {
		t.Errorf("two clients asked for containers %d times", refusals)
	}
}
