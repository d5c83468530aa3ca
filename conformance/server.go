// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"time"

	"github.com/golocker/locker"
)

// comeback is how long a server may take to serve again after it was broken.
const comeback = 30 * time.Second

func serverPaused(c *probe) {
	server := c.h.NewServer(stage{c})
	if server.Pause == nil {
		c.skip("the harness's Server has no Pause")
	}
	name := c.name("paused")
	a := c.openWith(server.Open).application()
	b := c.openWith(server.Open).application()
	lease := a.take(name)
	call := b.callBehind(c.ctx, c.holding(name))
	resume := server.Pause()
	if !lease.Deadline().IsZero() {
		c.mustEnd(lease, c.ttl+c.soon(), locker.ErrLost, "the server is paused")
	}
	resume()
	if lease.Deadline().IsZero() {
		_ = a.Client.Unlock(c.ctx, lease)
	}
	next, err := b.result(call, c.reclaim()+comeback, "the server goes on, and the holder's lease has ended")
	if err != nil {
		c.Fatalf("a Lock that waited ended as the server was paused: %v", err)
	}
	if c.info.Fencing && next.Token() <= lease.Token() {
		c.Fatalf("the token went from %d to %d", lease.Token(), next.Token())
	}
}

func serverRestarted(c *probe, keepsData bool) {
	server := c.h.NewServer(stage{c})
	restart := server.Restart
	if !keepsData {
		restart = server.Wipe
	}
	if restart == nil {
		c.skip("the harness's Server has no %s", map[bool]string{true: "Restart", false: "Wipe"}[keepsData])
	}
	name := c.name("restarted")
	a := c.openWith(server.Open).application()
	b := c.openWith(server.Open).application()
	lease := a.take(name)
	call := b.callBehind(c.ctx, c.holding(name))
	restart()

	// Either the holder keeps the lock, or it loses it and the waiter gets it.
	c.openWith(server.Open).mustGet(c.name("other"), c.reclaim()+comeback, "the server is back").unlock()
	select {
	case <-lease.Context().Done():
		if err := lease.Err(); !errors.Is(err, locker.ErrLost) {
			c.Fatalf("Err is %v after the server's restart, want ErrLost", err)
		}
	case <-call.done:
		if call.err == nil && lease.Err() == nil {
			if keepsData {
				c.Fatalf("two holders: the lock was granted to another after a restart, while the lease's Err was nil")
			}
			c.mustEnd(lease, c.ttl+c.soon(), locker.ErrLost, "the server lost its data, and another was granted the lock")
		}
	case <-time.After(c.ttl + c.soon()):
		if err := a.Client.Unlock(c.ctx, lease); err != nil {
			c.late("Unlock after the server's restart: %v", err)
		}
	}
	if _, err := b.result(call, 2*c.reclaim()+comeback, "the server is back, and the holder's lease has ended"); err != nil {
		c.Fatalf("a Lock that waited ended as the server was restarted: %v", err)
	}
	c.openWith(server.Open).application().take(c.name("afterwards"))
}
