// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"math/rand/v2"
	"time"

	"github.com/golocker/locker/servertest"
)

// The faults of a cluster. Its leader is the node that takes writes.
var (
	KillLeader = Fault{Name: "kill-leader", Text: "the leader is killed (SIGKILL), and comes back with its data", server: true, inject: func(r *run, rng *rand.Rand) injected {
		leader := r.place.Leader(r.t)
		leader.Kill(r.t)
		return during("", between(rng, r.TTL/2, 2*r.TTL), func() { leader.Revive(r.t) })
	}}
	CutLeader = Fault{Name: "cut-leader", Text: "the leader is cut off from everybody", server: true, inject: func(r *run, rng *rand.Rand) injected {
		leader := r.place.Leader(r.t)
		leader.CutOff(r.t)
		return during("", between(rng, r.TTL, 3*r.TTL), func() { leader.Rejoin(r.t) })
	}}
	IsolateLeader = Fault{Name: "isolate-leader", Text: "the leader is cut off from the other nodes, not from clients", server: true, inject: func(r *run, rng *rand.Rand) injected {
		leader := r.place.Leader(r.t)
		for _, port := range r.place.PeerPorts {
			leader.CutOffPort(r.t, port)
		}
		return during("", between(rng, r.TTL, 3*r.TTL), func() {
			for _, port := range r.place.PeerPorts {
				leader.RejoinPort(r.t, port)
			}
		})
	}}
	PauseLeader = Fault{Name: "pause-leader", Text: "the leader stands still, and goes on", server: true, inject: func(r *run, rng *rand.Rand) injected {
		leader := r.place.Leader(r.t)
		leader.Pause(r.t)
		return during("", between(rng, r.TTL, 3*r.TTL), func() { leader.Unpause(r.t) })
	}}
	RollingRestart = Fault{Name: "rolling-restart", Text: "each node is restarted in good order, one after the other", server: true, inject: func(r *run, _ *rand.Rand) injected {
		for _, node := range r.place.Nodes {
			node.Restart(r.t)
		}
		return once()
	}}
	Promote = Fault{Name: "promote", Text: "the primary is killed and stays away; its asynchronous standby is promoted", server: true, once: true, inject: func(r *run, _ *rand.Rand) injected {
		r.place.Nodes[0].Kill(r.t)
		r.place.Promote(r.t)
		return once()
	}}
	StaleFailover = Fault{Name: "stale-failover", Text: "the replica hears nothing of the primary for a while; then the primary is killed, and the replica is promoted without what it has missed", server: true, wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		rejoin := r.place.Deafen(r.t)
		var dead *servertest.Server
		return injected{steps: []step{
			{between(rng, r.TTL, 2*r.TTL), func() { dead = r.place.Leader(r.t); dead.Kill(r.t) }},
			{10 * time.Second, func() { dead.Revive(r.t); rejoin(r.t) }},
		}}
	}}
	CutPromote = Fault{Name: "cut-promote", Text: "the primary is cut off from everybody, its asynchronous standby is promoted, and a client comes anew", server: true, once: true, wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		r.place.Nodes[0].CutOff(r.t)
		r.place.Promote(r.t)
		c := r.pick(rng, r.waiting)
		r.killed(c)
		r.start(c)
		return once()
	}}
)
