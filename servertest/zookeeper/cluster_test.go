// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
	"github.com/golocker/locker/zookeeper"
)

const (
	clusterTTL   = 4 * time.Second
	quorumPort   = 2888 // the leader's, for its followers
	electionPort = 3888
	// A dead server is noticed, a leader elected, every session given its whole
	// timeout anew, and machines are slow.
	clusterBound = 2*clusterTTL + 40*time.Second
)

// leader returns the index of the server that leads.
func leader(t testing.TB, servers []*servertest.Server) int {
	t.Helper()
	found := -1
	eventually(t, "there is a leader", func() bool {
		for i, s := range servers {
			if strings.Contains(fourLetters(t, s.Addr, "srvr"), "Mode: leader") {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

// clusterClient opens a client of some of the servers.
func clusterClient(t testing.TB, servers ...*servertest.Server) *locker.Client {
	t.Helper()
	return clientOn(t, newBackend(t, config(t, servers...)), clusterTTL)
}

func clientOn(t testing.TB, b backend.Backend, ttl time.Duration) *locker.Client {
	t.Helper()
	c, err := locker.New(b, &locker.Config{TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// clusterClientOn opens a client of all the servers, on one of them at first.
func clusterClientOn(t testing.TB, first *servertest.Server, servers []*servertest.Server) *locker.Client {
	t.Helper()
	cfg := config(t, servers...)
	var once sync.Once
	cfg.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		once.Do(func() { address = first.Addr })
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return clientOn(t, newBackend(t, cfg), clusterTTL)
}

// isolate cuts a server off from the others, and not from its clients. With the port
// for elections open they would elect it again and again, and never follow it.
func isolate(s *servertest.Server, t testing.TB) {
	s.CutOffPort(t, quorumPort)
	s.CutOffPort(t, electionPort)
}

func deliver(s *servertest.Server, t testing.TB) {
	s.RejoinPort(t, quorumPort)
	s.RejoinPort(t, electionPort)
}

// Whatever happens to one server of three, there is one holder at most; the lock
// is handed over, or its loss is told; and waiters are served, those too who are
// clients of that server, and before it is back.
func TestCluster(t *testing.T) {
	type step = func(*servertest.Server, testing.TB)
	for name, c := range map[string]struct {
		follower    bool
		fault, heal step
	}{
		"LeaderKilled":     {false, (*servertest.Server).Kill, (*servertest.Server).Revive},
		"LeaderPaused":     {false, (*servertest.Server).Pause, (*servertest.Server).Unpause},
		"LeaderCutOff":     {false, (*servertest.Server).CutOff, (*servertest.Server).Rejoin},
		"LeaderIsolated":   {false, isolate, deliver},
		"FollowerKilled":   {true, (*servertest.Server).Kill, (*servertest.Server).Revive},
		"FollowerIsolated": {true, isolate, deliver},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := servertest.ZooKeeperCluster(t)
			at := leader(t, servers)
			victim, other := servers[at], servers[(at+1)%3]
			if c.follower {
				victim, other = servers[(at+1)%3], servers[(at+2)%3]
			}
			there, elsewhere := clusterClientOn(t, victim, servers), clusterClientOn(t, other, servers)
			admin := clusterClient(t, other)
			type handover struct {
				from, to *locker.Client
				lease    *locker.Lease
				next     *backendtest.Waiter
			}
			handovers := []handover{{from: there, to: elsewhere}, {from: elsewhere, to: there}, {from: there, to: elsewhere}, {from: elsewhere, to: there}}
			for i := range handovers {
				h := &handovers[i]
				var err error
				if h.lease, err = h.from.Lock(bounded(t), fmt.Sprint("n", i)); err != nil {
					t.Fatal(err)
				}
				h.next = behind(t, h.to, admin, h.lease)
			}
			c.fault(victim, t)
			// The first two are given back during the fault, the others after it.
			settled := time.After(clusterTTL + 2*time.Second)
			for i, h := range handovers {
				if i == 2 {
					<-settled
					c.heal(victim, t)
				}
				lost := h.lease.Err()
				if err := h.from.Unlock(bounded(t), h.lease); err != nil {
					t.Logf("Unlock %d: %v (before: %v)", i, err, lost)
				}
				h.next.Granted(t, clusterBound, h.lease)
				if err := h.to.Unlock(bounded(t), h.next.Lease); err != nil {
					t.Logf("Unlock %d by the next: %v", i, err)
				}
			}
			eventually(t, "all is as before", func() bool {
				again, err := there.Lock(bounded(t), "afterwards")
				return err == nil && there.Unlock(bounded(t), again) == nil
			})
		})
	}
}

// Z1: a server that is cut off from its leader goes on answering reads, while the
// leader expires the sessions of its clients. Their leases end before.
func TestHazard_Z1_FollowerCutOff(t *testing.T) {
	t.Parallel()
	servers := servertest.ZooKeeperCluster(t)
	first := leader(t, servers)
	follower := (first + 1) % 3
	a, b := clusterClient(t, servers[follower]), clusterClient(t, servers[first], servers[(first+2)%3])
	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	w := behind(t, b, b, lease)
	servers[follower].CutOffPort(t, quorumPort)
	cutAt := backend.Now()
	select {
	case <-lease.Context().Done():
	case <-w.Done:
	case <-time.After(clusterTTL + 5*time.Second):
		t.Fatal("the holder was not told")
	}
	told := backend.Now().Sub(cutAt)
	w.Granted(t, clusterBound, lease)
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("the lease of the holder: %v", lease.Err())
	}
	t.Logf("told after %v, granted to the next after %v", told, w.At.Sub(cutAt))
}

// Z2: a heartbeat is acknowledged, and the server that took it stops before it has
// told the leader. The session ends earlier, by the time between two heartbeats.
func TestHazard_Z2_FollowerFrozen(t *testing.T) {
	t.Parallel()
	// The leader pings its followers each second, so there is time to stop one
	// before the next ping.
	const ttl, tick = 24 * time.Second, 2 * time.Second
	servers := servertest.ZooKeeperCluster(t, "tickTime=2000")
	first := leader(t, servers)
	follower := servers[(first+1)%3]
	open := func(tap *tap, servers ...*servertest.Server) *zookeeper.Backend {
		cfg := config(t, servers...)
		cfg.Tick, cfg.Dialer = tick, tap.dial
		return newBackend(t, cfg)
	}
	tap := newTap()
	var beats atomic.Int32
	var beat atomic.Pointer[time.Time] // the last, if no ping followed it
	tap.set(func(m message) fate {
		switch {
		case m.reply:
		case m.op == "heartbeat":
			now := backend.Now()
			beat.Store(&now)
			beats.Add(1)
		case m.op == "ping":
			beat.Store(nil)
		}
		return pass
	})
	a, b := open(tap, follower), open(newTap(), servers[first], servers[(first+2)%3])
	req := request("n")
	req.TTL = ttl
	g := lock(t, a, req)
	req = request("n")
	req.TTL = ttl
	w := queue(t, b, req)
	// Heartbeats go out every 5.2 s, the driver's pings every 8 s. The third
	// heartbeat is sent long after the second, and no ping between them; where the
	// machine stood still just then, the sixth after the fifth.
	backendtest.Within(t, 2*ttl, "the next is nearly due", func() bool {
		last := beat.Load()
		return beats.Load() >= 2 && last != nil && backend.Now().Sub(*last) > 4600*time.Millisecond
	})
	renewal := a.Renew(bounded(t), []*backend.Grant{g})[0]
	follower.Pause(t)
	t.Cleanup(func() { follower.Unpause(t) })
	if renewal.Err != nil {
		t.Fatal(renewal.Err)
	}
	ends := renewal.Until.Add(-backend.Margin(ttl))
	next := w.Granted(t, 2*ttl)
	if early := ends.Sub(backend.Now()); early > 0 {
		t.Errorf("two holders for %v", early)
	}
	t.Logf("the lease ended %v before the next was granted the lock", backend.Now().Sub(ends))
	unlock(t, b, next)
}

// Servers are restarted one after the other while clients take and give one lock:
// never are there two holders, nor tokens that go back.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	servers := servertest.ZooKeeperCluster(t)
	leader(t, servers)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var holders, taken atomic.Int32
	var last atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		c := clusterClient(t, servers...)
		all.Go(func() {
			for ctx.Err() == nil {
				err := locker.Do(ctx, c, "n", func(_ context.Context, lease *locker.Lease) error {
					if holders.Add(1) > 1 {
						t.Error("two holders")
					}
					defer holders.Add(-1)
					if lease.Err() == nil && last.Swap(lease.Token()) >= lease.Token() {
						t.Error("a token went back")
					}
					taken.Add(1)
					return nil
				})
				if err != nil && ctx.Err() == nil && !errors.Is(err, locker.ErrLost) && !errors.Is(err, backend.ErrUnavailable) {
					t.Error(err)
				}
			}
		})
	}
	more := func(what string) {
		before := taken.Load()
		eventually(t, what, func() bool { return taken.Load() > before+20 })
	}
	for i := range servers {
		more("the lock is taken")
		servers[i].Restart(t)
	}
	more("the lock is taken after all")
	cancel()
	all.Wait()
	t.Logf("the lock was taken %d times", taken.Load())
}

// A server that comes back late, and has seen less than a client, does not serve
// it: its lists would be too old.
func TestWaiterMovesToAnotherServer(t *testing.T) {
	t.Parallel()
	servers := servertest.ZooKeeperCluster(t)
	first := leader(t, servers)
	follower, other := (first+1)%3, (first+2)%3
	holder := clusterClient(t, servers[first])
	waiter := clusterClient(t, servers[follower], servers[other])
	for i := range 4 {
		lease, err := holder.Lock(bounded(t), "n")
		if err != nil {
			t.Fatal(err)
		}
		w := behind(t, waiter, holder, lease)
		away := servers[[]int{follower, other}[i%2]]
		away.Pause(t)
		if err := holder.Unlock(bounded(t), lease); err != nil {
			t.Fatal(err)
		}
		w.Granted(t, clusterBound, lease)
		away.Unpause(t)
		if err := waiter.Unlock(bounded(t), w.Lease); err != nil {
			t.Fatal(err)
		}
	}
}
