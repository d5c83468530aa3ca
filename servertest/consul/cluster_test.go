// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

// clusterBound is how long a lock may take to come: a leader is missed and
// elected, sessions begin their twice the TTL anew, and machines are slow.
const clusterBound = 4*short + 30*time.Second

// leader returns the index of the server that leads.
func leader(t testing.TB, servers []*servertest.Server) int {
	t.Helper()
	found := -1
	within(t, time.Minute, "there is a leader", func() bool {
		for i, s := range servers {
			self, err := native(t, s.Addr).Agent().Self()
			if err != nil {
				continue
			}
			if raft, ok := self["Stats"]["raft"].(map[string]any); ok && raft["state"] == "Leader" {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

func clusterClient(t testing.TB, agent *servertest.Server) *locker.Client {
	t.Helper()
	c, err := locker.Open(bounded(t), "consul://"+agent.Addr, &locker.Config{TTL: short})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Whatever happens to the leader of three servers, or to two of them, there is
// one holder at most; the lock is handed over, or its loss is told; and waiters
// are served. All talk to an agent in client mode.
func TestCluster(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, servers []*servertest.Server, leader int) (heal func()){
		"LeaderKilled": func(t *testing.T, servers []*servertest.Server, leader int) func() {
			servers[leader].Kill(t)
			return func() { servers[leader].Revive(t) }
		},
		"LeaderCutOff": func(t *testing.T, servers []*servertest.Server, leader int) func() {
			servers[leader].CutOff(t)
			return func() { servers[leader].Rejoin(t) }
		},
		"QuorumLost": func(t *testing.T, servers []*servertest.Server, leader int) func() {
			follower := (leader + 1) % 3
			servers[leader].Pause(t)
			servers[follower].Pause(t)
			return func() { servers[leader].Unpause(t); servers[follower].Unpause(t) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := ownCluster(t)
			first := leader(t, cluster.Servers)
			a, b := clusterClient(t, cluster.Agent), clusterClient(t, cluster.Agent)
			var leases []*locker.Lease
			var calls []*backendtest.Waiter
			for i := range 4 {
				lease, err := a.Lock(bounded(t), fmt.Sprint("n", i))
				if err != nil {
					t.Fatal(err)
				}
				leases = append(leases, lease)
				calls = append(calls, behind(t, b, a, lease))
			}
			heal := fault(t, cluster.Servers, first)
			began := backend.Now()
			// The first two are given back during the fault, the others after it.
			for i, lease := range leases {
				if i == 2 {
					passed(t, began.Add(short+2*time.Second))
					heal()
				}
				lost := lease.Err()
				if err := a.Unlock(bounded(t), lease); err != nil {
					t.Logf("Unlock %d after %v: %v (before: %v)", i, backend.Now().Sub(began), err, lost)
				}
				if name == "QuorumLost" && i < 2 {
					continue // nothing is granted before it is healed
				}
				calls[i].Granted(t, clusterBound, lease)
			}
			for i, c := range calls {
				c.Granted(t, clusterBound, leases[i])
				if err := b.Unlock(bounded(t), c.Lease); err != nil {
					t.Logf("Unlock %d by the next: %v", i, err)
				}
			}
			within(t, 30*time.Second, "all is as before", func() bool {
				again, err := a.Lock(bounded(t), "afterwards")
				return err == nil && a.Unlock(bounded(t), again) == nil
			})
		})
	}
}

// A server that is cut off from the others together with its clients: their
// leases end before the majority grants the locks to others, and who waits there
// believes nothing that is old, and is served when the server is back.
func TestClusterIsolatedHolder(t *testing.T) {
	t.Parallel()
	cluster := ownCluster(t)
	first := leader(t, cluster.Servers)
	a, b := clusterClient(t, cluster.Servers[first]), clusterClient(t, cluster.Servers[(first+1)%3])
	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	w := behind(t, b, b, lease)
	others, err := b.Lock(bounded(t), "others")
	if err != nil {
		t.Fatal(err)
	}
	isolated := behind(t, a, b, others)
	for _, port := range []int{8300, 8301, 8302} { // of Raft and gossip: the HTTP port stays
		cluster.Servers[first].CutOffPort(t, port)
	}
	cut := backend.Now()
	select {
	case <-lease.Context().Done():
	case <-time.After(short + 5*time.Second):
		t.Fatal("the isolated holder was not told")
	}
	told := backend.Now().Sub(cut)
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("the isolated holder's lease: %v", lease.Err())
	}
	w.Granted(t, clusterBound, lease)
	t.Logf("told after %v, granted to the next after %v", told, backend.Now().Sub(cut))
	if err := b.Unlock(bounded(t), others); err != nil {
		t.Error(err)
	}
	third, err := b.Lock(bounded(t), "others") // once the isolated waiter's session has ended
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-isolated.Done:
		t.Fatalf("two holders, or a wait that ended: %v", isolated.Err)
	default:
	}
	for _, port := range []int{8300, 8301, 8302} {
		cluster.Servers[first].RejoinPort(t, port)
	}
	within(t, clusterBound, "the server is back", func() bool { // its connections to the others may take long
		next, err := a.Lock(bounded(t), "other")
		return err == nil && a.Unlock(bounded(t), next) == nil
	})
	if err := b.Unlock(bounded(t), third); err != nil {
		t.Error(err)
	}
	isolated.Granted(t, clusterBound, third)
}

// An agent that stands still and goes on sends what is long over: the request of a
// Lock that has ended, and renewals of a session that its client gave up (G5a).
// Neither keeps a lock from others.
func TestClusterStaleAgent(t *testing.T) {
	t.Parallel()
	cluster := ownCluster(t)
	direct := native(t, cluster.Servers[0].Addr)
	a, b := clusterClient(t, cluster.Agent), clusterClient(t, cluster.Servers[0])
	first, err := a.Lock(bounded(t), "first") // opens the session
	if err != nil {
		t.Fatal(err)
	}
	cluster.Agent.Pause(t)
	_, err = a.Lock(bounded(t), "late", locker.MaxWait(time.Second))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, locker.ErrLocked) {
		t.Errorf("Lock by an agent that stands still: %v", err)
	}
	cluster.Agent.Unpause(t)
	late, err := b.Lock(bounded(t), "late")
	if err != nil {
		t.Fatalf("what another's Lock has left: %v", err)
	}
	if err := errors.Join(a.Unlock(bounded(t), first), b.Unlock(bounded(t), late)); err != nil {
		t.Error(err)
	}

	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	session := sessionOf(t, direct, "n/")
	w := behind(t, b, b, lease)
	cluster.Agent.Pause(t)
	paused := backend.Now()
	select {
	case <-lease.Context().Done():
	case <-time.After(short + 5*time.Second):
		t.Fatal("a holder whose agent stands still was not told")
	}
	if told := backend.Now().Sub(paused); told > short || !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("after %v: %v", told, lease.Err())
	}
	if !exists(t, direct, session) {
		t.Fatal("the session ended with the TTL: nothing is renewed late")
	}
	cluster.Agent.Unpause(t)
	wentOn := backend.Now()
	w.Granted(t, clusterBound, lease)
	// Less than what is left of its time without a late renewal.
	within(t, short-2*time.Second, "the session that its client gave up is destroyed", func() bool { return !exists(t, direct, session) })
	t.Logf("granted to the next, and the session destroyed, %v after the agent went on, at a TTL of %v", backend.Now().Sub(wentOn), short)
	again, err := a.Lock(bounded(t), "again")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Unlock(bounded(t), again); err != nil {
		t.Error(err)
	}
}
