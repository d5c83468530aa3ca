// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/backendtest"
)

const (
	clusterTTL = 4 * time.Second
	peerPort   = 2380
	// A dead member is noticed, a leader elected, every lease given its whole
	// TTL anew, and machines are slow.
	clusterBound = 2*clusterTTL + 30*time.Second
)

// leader returns the index of the member that leads.
func leader(t testing.TB, members []*servertest.Server) int {
	t.Helper()
	found := -1
	eventually(t, "there is a leader", func() bool {
		for i, m := range members {
			status, err := native(t, m.Addr).Status(bounded(t), m.Addr)
			if err == nil && status.Leader == status.Header.MemberId {
				found = i
				return true
			}
		}
		return false
	})
	return found
}

func clusterClient(t testing.TB, members ...*servertest.Server) *locker.Client {
	t.Helper()
	c, err := locker.Open(bounded(t), "etcd://"+endpoints(members), &locker.Config{TTL: clusterTTL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Whatever happens to one member of three, there is one holder at most; the
// lock is handed over, or its loss is told; and waiters are served.
func TestCluster(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, members []*servertest.Server, leader int) (heal func()){
		"LeaderMoved": func(t *testing.T, members []*servertest.Server, leader int) func() {
			next := members[(leader+1)%3]
			status, err := native(t, next.Addr).Status(bounded(t), next.Addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := native(t, members[leader].Addr).MoveLeader(bounded(t), status.Header.MemberId); err != nil {
				t.Fatal(err)
			}
			return func() {}
		},
		"LeaderKilled": func(t *testing.T, members []*servertest.Server, leader int) func() {
			members[leader].Kill(t)
			return func() { members[leader].Revive(t) }
		},
		"LeaderPaused": func(t *testing.T, members []*servertest.Server, leader int) func() {
			members[leader].Pause(t)
			return func() { members[leader].Unpause(t) }
		},
		"LeaderCutOff": func(t *testing.T, members []*servertest.Server, leader int) func() {
			members[leader].CutOff(t)
			return func() { members[leader].Rejoin(t) }
		},
		"LeaderIsolated": func(t *testing.T, members []*servertest.Server, leader int) func() {
			members[leader].CutOffPort(t, peerPort)
			return func() { members[leader].RejoinPort(t, peerPort) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members := servertest.EtcdCluster(t)
			first := leader(t, members)
			a, b, admin := clusterClient(t, members...), clusterClient(t, members...), clusterClient(t, members[(first+1)%3], members[(first+2)%3])
			var leases []*locker.Lease
			var calls []*backendtest.Waiter
			for i := range 4 {
				lease, err := a.Lock(bounded(t), fmt.Sprint("n", i))
				if err != nil {
					t.Fatal(err)
				}
				leases = append(leases, lease)
				w := behind(t, b, admin, lease)
				if name == "LeaderPaused" { // as the package's doc says
					w.Overlap = "etcd revokes leases that are renewed when a frozen leader goes on"
				}
				calls = append(calls, w)
			}
			heal := fault(t, members, first)
			// The first two are given back during the fault, the others after it.
			settled := time.After(clusterTTL + 2*time.Second)
			for i, lease := range leases {
				if i == 2 {
					<-settled
					heal()
				}
				lost := lease.Err()
				if err := a.Unlock(bounded(t), lease); err != nil {
					t.Logf("Unlock %d: %v (before: %v)", i, err, lost)
				}
				calls[i].Granted(t, clusterBound, lease)
				if err := b.Unlock(bounded(t), calls[i].Lease); err != nil {
					t.Logf("Unlock %d by the next: %v", i, err)
				}
			}
			eventually(t, "all is as before", func() bool {
				again, err := a.Lock(bounded(t), "afterwards")
				return err == nil && a.Unlock(bounded(t), again) == nil
			})
		})
	}
}

// A leader that is isolated together with its clients: their leases end before
// the majority grants the locks to others.
func TestClusterIsolatedHolder(t *testing.T) {
	t.Parallel()
	members := servertest.EtcdCluster(t)
	first := leader(t, members)
	a := clusterClient(t, members[first])
	b := clusterClient(t, members[(first+1)%3], members[(first+2)%3])
	lease, err := a.Lock(bounded(t), "n")
	if err != nil {
		t.Fatal(err)
	}
	w := behind(t, b, b, lease)
	members[first].CutOffPort(t, peerPort)
	cut := time.Now()
	select {
	case <-lease.Context().Done():
	case <-time.After(clusterTTL + 5*time.Second):
		t.Fatal("the isolated holder was not told")
	}
	told := time.Since(cut)
	if !errors.Is(lease.Err(), locker.ErrLost) {
		t.Errorf("the isolated holder's lease: %v", lease.Err())
	}
	w.Granted(t, clusterBound, lease)
	t.Logf("told after %v, granted to the next after %v", told, time.Since(cut))
	members[first].RejoinPort(t, peerPort)
	backendtest.Within(t, clusterBound, "the member is back", func() bool { // its connections to the others may take long
		next, err := a.Lock(bounded(t), "other")
		return err == nil && a.Unlock(bounded(t), next) == nil
	})
}

// Waiters whose watch is on a member that is cut off from the others are told
// so, and served by those (WithRequireLeader). Some of ten watches are on it.
func TestClusterMemberWithoutLeader(t *testing.T) {
	t.Parallel()
	members := servertest.EtcdCluster(t)
	first := leader(t, members)
	follower := (first + 1) % 3
	a := clusterClient(t, members[first], members[(first+2)%3])
	var leases []*locker.Lease
	var calls []*backendtest.Waiter
	for i := range 10 {
		lease, err := a.Lock(bounded(t), fmt.Sprint("n", i))
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, lease)
		calls = append(calls, behind(t, clusterClient(t, members[follower], members[first]), a, lease))
	}
	members[follower].CutOffPort(t, peerPort)
	eventually(t, "it has no leader", func() bool {
		status, err := native(t, members[follower].Addr).Status(bounded(t), members[follower].Addr)
		return err == nil && status.Leader == 0
	})
	for i, lease := range leases {
		if err := a.Unlock(bounded(t), lease); err != nil {
			t.Errorf("Unlock by a client of the majority: %v", err)
		}
		calls[i].Granted(t, clusterBound, lease)
	}
}
