// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"math/rand/v2"

	"github.com/golocker/locker/servertest"
)

// The faults of a server that is alone.
var (
	PauseServer = Fault{Name: "pause-server", Text: "the server stands still", server: true, inject: func(r *run, rng *rand.Rand) injected {
		s := r.anyServer(rng)
		s.Pause(r.t)
		return during("", between(rng, r.TTL/4, r.TTL*3/2), func() { s.Unpause(r.t) })
	}}
	KillServer = Fault{Name: "kill-server", Text: "the server is killed (SIGKILL), and started again with its data", server: true, inject: func(r *run, rng *rand.Rand) injected {
		s := r.anyServer(rng)
		s.Kill(r.t)
		return during("", between(rng, 0, r.TTL/2), func() { s.Revive(r.t) })
	}}
	RestartServer = Fault{Name: "restart-server", Text: "the server is restarted in good order, with its data", server: true, inject: func(r *run, rng *rand.Rand) injected {
		r.anyServer(rng).Restart(r.t)
		return once()
	}}
	EmptyServer = Fault{Name: "empty-server", Text: "the server is killed, and one without any data takes its place", server: true, wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		r.anyServer(rng).Empty(r.t)
		return once()
	}}
	EndSessions = Fault{Name: "end-sessions", Text: "an administrator ends all sessions", server: true, wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		r.anyServer(rng).EndSessions(r.t)
		return once()
	}}
	ClockForward = Fault{Name: "clock-forward", Text: "the server's wall clock jumps forward, by more than a TTL", server: true, wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		r.anyServer(rng).MoveClock(r.t, 2*r.reclaim())
		return once()
	}}
	ClockBack = Fault{Name: "clock-back", Text: "a holder is killed, and the server's wall clock jumps back, by many TTLs", server: true, wanted: longHeld, inject: func(r *run, rng *rand.Rand) injected {
		c := r.pick(rng, longHeld)
		r.killed(c)
		r.anyServer(rng).MoveClock(r.t, -10*r.reclaim())
		return during("", r.TTL/2, func() { r.start(c) })
	}}
)

func (r *run) anyServer(rng *rand.Rand) *servertest.Server {
	return r.place.Servers[rng.IntN(len(r.place.Servers))]
}
