// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// A crowd are goroutines of a few clients that want one lock, again and again.
type crowd struct {
	grants  chan grant // unbuffered
	failed  chan error // holds one
	clients []Client
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// A grant is a lock that a contender has.
type grant struct {
	who    int
	at     time.Time // when Lock returned
	unlock func() error
	again  chan struct{} // to be closed when the contender shall want the lock again
}

// gather starts n contenders that share the clients.
func gather(ctx context.Context, clients []Client, name string, n int) *crowd {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{grants: make(chan grant), failed: make(chan error, 1), clients: clients, cancel: cancel}
	for i := range n {
		c.running.Go(func() { c.contend(ctx, i, clients[i%len(clients)], name) })
	}
	return c
}

func (c *crowd) contend(ctx context.Context, who int, client Client, name string) {
	for ctx.Err() == nil {
		unlock, err := client.Lock(ctx, name)
		g := grant{who: who, at: time.Now(), unlock: unlock, again: make(chan struct{})}
		if err != nil {
			if ctx.Err() == nil {
				select {
				case c.failed <- err:
				default:
				}
			}
			return
		}
		select {
		case c.grants <- g:
			<-g.again
		case <-ctx.Done():
			_ = unlock() // nobody wants it any more
			return
		}
		rest(rand.N(2 * time.Millisecond)) // those that poll would fall into step
	}
}

// end is called in the end, for the grant that may be there.
func (g grant) end() {
	if g.again != nil {
		_ = g.unlock() // nobody wants it any more
		close(g.again)
	}
}

// next waits for the next grant.
func (c *crowd) next(ctx context.Context) (grant, error) {
	select {
	case g := <-c.grants:
		return g, nil
	case err := <-c.failed:
		return grant{}, err
	case <-ctx.Done():
		return grant{}, ctx.Err()
	}
}

// disband ends the contenders, of whom one may hold the lock, and the clients.
// Some clients' waits end with the client alone.
func (c *crowd) disband(holder grant) {
	c.cancel()
	holder.end()
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.running.Wait()
	}()
	select {
	case <-over:
	case <-time.After(time.Second):
	}
	for _, client := range c.clients {
		_ = client.Close()
	}
	<-over
}

// several opens up to n clients at an address.
func (r *run) several(c Contestant, n int, addr string) []Client {
	r.t.Helper()
	var clients []Client
	for range min(n, 8) {
		clients = append(clients, r.open(c, addr, usualTTL))
	}
	return clients
}
