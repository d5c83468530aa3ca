// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/history"
)

// A Trial is one fault that a store meets alone, because it may break a promise.
type Trial struct {
	Store  Store
	Fault  Fault
	Breaks []string // the checkers that find something: a documented exception
	May    []string // those that find something with some seeds only
	Why    string   // for the documents
}

// Documents says whether it is documented that a checker finds something.
func (x Trial) Documents(checker string) bool {
	return slices.Contains(x.Breaks, checker) || slices.Contains(x.May, checker)
}

// Trials are those of make faults. The guarded register must lose nothing in any.
var Trials = []Trial{
	{Store: Redis, Fault: EmptyServer, Breaks: []string{"overlap"}, May: []string{"model"}, Why: forgotten + " Tokens are its clock's, and grow."},
	{Store: Etcd, Fault: EmptyServer, Breaks: []string{"tokens"}, May: []string{"model", "overlap"}, Why: forgotten + anew},
	{Store: ZooKeeper, Fault: EmptyServer, Breaks: []string{"tokens"}, May: []string{"model", "overlap"}, Why: forgotten + anew},
	{Store: Consul, Fault: EmptyServer, Breaks: []string{"tokens"}, May: []string{"model", "overlap"}, Why: forgotten + anew},
	{Store: Postgres, Fault: EmptyServer},

	{Store: Redis, Fault: EndSessions},
	{Store: Etcd, Fault: EndSessions, May: []string{"overlap", "model"}, Why: pushed},
	{Store: Consul, Fault: EndSessions, Breaks: []string{"overlap"}, May: []string{"model"}, Why: pushed},
	{Store: Postgres, Fault: EndSessions, May: []string{"overlap", "model"}, Why: pushed},

	{Store: Redis, Fault: HangUp},
	{Store: Etcd, Fault: HangUp},
	{Store: ZooKeeper, Fault: HangUp},
	{Store: Consul, Fault: HangUp},
	{Store: Postgres, Fault: HangUp, Breaks: []string{"overlap"}, May: []string{"model"}, Why: "A lock ends in the server with its connection. A holder that is not told believes up to its deadline; one that is, until it has heard: reset and refuse allow it 100 ms for that."},

	{Store: clocked(Redis), Fault: ClockForward, Breaks: []string{"overlap"}, May: []string{"model"}, Why: "Redis expires keys by its wall clock: a jump ends every lock at once, and nobody is told before the next renewal. Tokens are of the same clock, and grow."},
	{Store: clocked(Redis), Fault: ClockBack, Breaks: []string{"liveness"}, May: []string{"audit"}, Why: "The lock of a dead holder lasts for longer, by as much as the clock jumped."},
	{Store: clocked(Postgres), Fault: ClockForward, May: []string{"overlap", "model"}, Why: "Postgres looks for silent sessions by its wall clock: a jump may end one early. Its holder is told by the end of the connection, which takes a round trip."},
	{Store: clocked(Postgres), Fault: ClockBack},
	{Store: clocked(ZooKeeper), Fault: ClockForward},
	{Store: clocked(ZooKeeper), Fault: ClockBack},

	{Store: slower(RedisSentinel, 6*time.Second), Fault: KillLeader, May: []string{"overlap", "model"}, Why: asynchronous},
	{Store: slower(RedisSentinel, 6*time.Second), Fault: CutLeader, May: []string{"overlap", "model"}, Why: asynchronous},
	{Store: slower(RedisSentinel, 6*time.Second), Fault: PauseLeader, May: []string{"overlap", "model"}, Why: asynchronous},
	{Store: slower(RedisSentinel, 6*time.Second), Fault: RollingRestart, May: []string{"overlap", "model"}, Why: asynchronous},
	{Store: slower(RedisSentinel, 6*time.Second), Fault: StaleFailover, Breaks: []string{"overlap"}, May: []string{"model"}, Why: asynchronous},
	{Store: slower(PostgresStandby, 8*time.Second), Fault: CutPromote, Breaks: []string{"overlap"}, May: []string{"model"}, Why: "A standby knows nothing of locks. Holders whose primary is cut off believe up to their deadline."},
}

// Why exceptions are ones.
const (
	forgotten    = "A server that has lost its memory has no locks, and gives them to who asks first; holders are told by their next renewal, or when their session is refused."
	anew         = " What it counts begins anew, and tokens with it: a resource that checks them refuses all holders until they are large enough again."
	pushed       = "What an administrator ends is told by push, which takes a round trip; the lock may be given away before."
	asynchronous = "Replication is asynchronous: what the replica has not heard of is lost by a failover, and for a moment there may be two primaries."
)

func (x Trial) String() string { return x.Store.Name + ": " + x.Fault.Name }

// clocked is a store on a server whose wall clock can be moved.
func clocked(s Store) Store {
	spec := s.Spec
	s.Spec = func(t testing.TB) servertest.Spec { return servertest.MovableClock(t, spec(t)) }
	return s
}

// run meets the fault, until what is known to break was seen to break.
func (x Trial) run(t testing.TB, cfg Config) {
	t.Helper()
	cfg.Store, cfg.Faults, cfg.Long = x.Store, []Fault{x.Fault}, true
	if x.Breaks == nil && x.May == nil {
		Note(t, OfTrial, x.Fault.Name, "", Must(t, cfg))
		return
	}
	shown := map[string]bool{}
	for try := range uint64(tries) {
		seeded := cfg
		seeded.Seed += try
		result := Run(t, seeded)
		t.Log(result)
		Note(t, OfTrial, x.Fault.Name, "", result)
		known, unknown := x.sort(result.Verdicts)
		for _, v := range known {
			if !shown[v.Checker] {
				shown[v.Checker] = true
				t.Logf("%v: a documented exception, seed %#x: %v", x, seeded.Seed, v)
			}
		}
		for _, v := range unknown {
			t.Error(v)
		}
		if len(unknown) > 0 || !slices.ContainsFunc(x.Breaks, func(checker string) bool { return !shown[checker] }) {
			return
		}
	}
	t.Errorf("%v: documented as an exception for %v, and seen to break %v alone", x, x.Breaks, slices.Sorted(maps.Keys(shown)))
}

// sort parts what is documented from what is not. What is void says nothing, and
// what was not decided is never documented.
func (x Trial) sort(verdicts []history.Verdict) (known, unknown []history.Verdict) {
	for _, v := range verdicts {
		switch {
		case v.Void:
		case !v.Undone && x.Documents(v.Checker):
			known = append(known, v)
		default:
			unknown = append(unknown, v)
		}
	}
	return known, unknown
}

// atLeast is how long a run of one fault lasts.
func atLeast(s Store) time.Duration { return max(25*time.Second, 4*s.Promise.Reclaim) }
