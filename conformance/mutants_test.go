// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"slices"
	"strings"
	"testing"
)

// A mutant is the reference backend with one bug.
type mutant struct {
	bug      bug
	sessions bool
	killer   string // the check that is named for the bug
	says     string // a part of what that check says happened
	also     string // prefixes of the other checks that it may fail; "*": run its killer only
}

var mutants = []mutant{
	{doubleGrant, false, "G1_Exclusion/TwoClients", "two holders", "*"},
	{reentrant, true, "G1_Exclusion/SameClient", "by the client that holds it", "G13_CleanEnd/Goroutines G1_Exclusion G5_Liveness/G5a"},
	{noTombstone, true, "G1_Exclusion/G1a_LateEnqueue", "arrived after its own withdrawal", "G5_Liveness/ResetAtEachStep"},
	{optimist, true, "G2_SelfFencing/Unreachable", "was nil", "G2_SelfFencing G5_Liveness/G5a G5_Liveness/Server G8_ExactRenew"},
	{receiveTime, false, "G2_SelfFencing/G2a_SendTime", "later than the TTL after the request can have been sent", ""},
	{muteLoss, true, "G2_SelfFencing/G2f_Broken", "its lock's deletion in the store", "G2_SelfFencing/G2f_BrokenByRenew G2_SelfFencing/SPILost G5_Liveness/G5a G5_Liveness/ServerWiped G8_ExactRenew"},
	{lyingRenew, false, "G2_SelfFencing/G2f_BrokenByRenew", "does not return ErrLost", "G2_SelfFencing/SPILost_BeforeReturn G5_Liveness/G5a G5_Liveness/ServerWiped G8_ExactRenew"},
	{alarmingUnlock, true, "G2_SelfFencing/SPILost_NotByUnlock", "Lost was called for a grant that was unlocked", "G2_SelfFencing/SPILost_Once"},
	{sameToken, false, "G3_Fencing/Release", "the token went from 7 to 7", "G3_Fencing G1_Exclusion G2_SelfFencing/G2f_Broken G5_Liveness/ServerPaused"},
	{tokenInKey, false, "G3_Fencing/Expiry", "the token went from 4 to 1 after an expiry", "G3_Fencing/Broken G2_SelfFencing/G2f_Broken"},
	{lifo, false, "G4_Fairness/Order", "which was queued before it", "G4_Fairness/CancelledWaiter"},
	{loseWakeUp, true, "G5_Liveness/NoLostWakeUp", "was not granted the lock within", "*"},
	{forgetful, true, "G1_Exclusion/SameClientLeaves", "of its own client gave up", "G1_Exclusion/Goroutines"},
	{leakyCancel, true, "G5_Liveness/CancelledWaiter", "the waiters before it gave up", "G1_Exclusion/SameClientLeaves G9_ClearErrors/Inspect G4_Fairness/CancelledWaiter G5_Liveness/CancelAtGrant G6_NothingLeft"},
	{zombieSession, true, "G5_Liveness/G5a_GivenUpSession", "nothing renews it", ""},
	{stuckBehindDead, true, "G5_Liveness/G5c_DeadMiddleWaiter", "had died long before the holder unlocked", "G5_Liveness/G5c_DeadMiddleWaiterEarly"},
	{wakeNeighbour, true, "G5_Liveness/G5c_DeadMiddleWaiterEarly", "when the waiter before it died", "G5_Liveness/G5c_DeadMiddleWaiter"},
	{stubborn, true, "G5_Liveness/WaiterOutlivesOutage", "its connection broke", ""},
	{queueNoWait, true, "G6_NothingLeft/NoWait", "all others had asked with NoWait", "*"},
	{withdrawAny, true, "G6_NothingLeft/WithdrawExact", "after an older grant was withdrawn", "G6_NothingLeft/Withdraw G2_SelfFencing/RepliesVanish"},
	{nilGrant, true, "G6_NothingLeft/G6a_LostReply", "the only Lock failed", "G1_Exclusion/G1a G5_Liveness/ResetAtEachStep G6_NothingLeft"},
	{deleteAny, true, "G7_ExactUnlock/Successor", "after a stale Unlock of the holder before", "G1_Exclusion/Faults G6_NothingLeft/Withdraw G7_ExactUnlock"},
	{blindUnlock, false, "G7_ExactUnlock/Twice", "the second Unlock returned <nil>", "G7_ExactUnlock"},
	{resurrectingRenew, false, "G8_ExactRenew/AfterExpiryAlone", "had expired returned", "G8_ExactRenew G2_SelfFencing/G2f_BrokenByRenew G5_Liveness/G5a G5_Liveness/ServerWiped"},
	{lossForSilence, false, "G8_ExactRenew/LostReply", "though its answer was lost", "*"},
	{guessLocked, true, "G9_ClearErrors/G9a_Unreachable", "the store cannot have said", "G5_Liveness/WaiterOutlivesOutage G9_ClearErrors/G9a_Refused"},
	{lyingNoWait, false, "G9_ClearErrors/FreeIsNotLocked", "nobody ever had it", "*"},
	{staleInspect, false, "G9_ClearErrors/Inspect", "that was unlocked", ""},
	{queuedAlways, false, "G9_ClearErrors/SPIQueued", "that was granted at once", ""},
	{chattyRenew, false, "G10_Cost/Renewal", "holding 40 took", "G2_SelfFencing/G2f_BrokenByRenew G2_SelfFencing/SPILost_BeforeReturn"},
	{herd, true, "G10_Cost/HandOver", "requests with 10 waiters", ""},
	{crowdedTry, true, "G10_Cost/HandOver", "though a try alone takes", "*"},
	{foldCase, false, "G11_Names/Distinct", "which nobody holds", ""},
	{sharePath, true, "G11_Names/Distinct", "which nobody holds", "G11_Names"},
	{secretError, true, "G12_Secrets/Errors", "holds the owner of a request", "G12_Secrets/Log"},
	{leakGoroutine, false, "G13_CleanEnd/Goroutines", "are left after Close", ""},
	{optimist, true, "G5_Liveness/ServerPaused", "the server is paused", "*"},
	{lyingRenew, false, "G5_Liveness/ServerWiped", "the server lost its data", "*"},
	{deleteAny, false, "G1_Exclusion/Faults", "two holders: Lock returned a lease", "*"},
	{doubleGrant, true, "G1_Exclusion/Contenders100", "two holders: Lock returned a lease", "*"},
	{sameToken, true, "G3_Fencing/Restart", "the token went from 7 to 7", "*"},
	{leakConnection, true, "G13_CleanEnd/Connections", "are open after Close", ""},
}

// TestMutants shows that the suite has teeth: each bug is found by the check
// that is named for it, and said in words that a stranger understands.
func TestMutants(t *testing.T) {
	t.Parallel()
	suites := startMutants(t)
	for i, m := range mutants {
		t.Run(strings.ReplaceAll(string(m.bug), " ", "_"), func(t *testing.T) {
			failed := m.failures(<-suites[i])
			detail, killed := failed[m.killer]
			switch {
			case !killed:
				t.Errorf("%s let it pass", m.killer)
			case !strings.Contains(detail, m.says):
				t.Errorf("%s says %q, want it to say %q", m.killer, detail, m.says)
			}
			for id := range failed {
				if id == m.killer || slices.ContainsFunc(strings.Fields(m.also), func(p string) bool { return strings.HasPrefix(id, p) }) {
					continue
				}
				// So many at once are late in places that no check expects.
				alone := run(t, referenceHarness(m.sessions, m.bug), func(guarantee, name string) bool { return guarantee+"/"+name == id })
				if detail, again := m.failures(alone)[id]; again {
					t.Errorf("%s fails too, which has nothing to do with it: %s", id, detail)
				}
			}
		})
	}
}

// failures returns what failed; of the killer, even if it is void since this
// machine stood still: what it found counts.
func (m mutant) failures(results []Result) map[string]string {
	failed := map[string]string{}
	for _, r := range results {
		id := r.Guarantee + "/" + r.Name
		if r.Status == Fail || r.Status == Error && id == m.killer {
			failed[id] = r.Detail
		}
	}
	return failed
}

// startMutants runs the suite on all mutants, a few at a time: they wait more
// than they work.
func startMutants(t *testing.T) []chan []Result {
	suites := make([]chan []Result, len(mutants))
	slots := make(chan struct{}, 5)
	for i, m := range mutants {
		suites[i] = make(chan []Result, 1)
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			suites[i] <- runMutant(t, m)
		}()
	}
	return suites
}

func runMutant(t *testing.T, m mutant) []Result {
	return run(t, referenceHarness(m.sessions, m.bug), func(id, name string) bool {
		if id += "/" + name; id == m.killer {
			return true
		}
		return m.also != "*" && !slices.Contains(slow, id)
	})
}

// slow are checks that take long, or that much else at the same time disturbs:
// they run on the mutants that they kill.
var slow = []string{
	"G1_Exclusion/Contenders100", "G1_Exclusion/Names100", "G1_Exclusion/Faults",
	"G3_Fencing/Restart", "G5_Liveness/ServerPaused", "G5_Liveness/ServerRestarted", "G5_Liveness/ServerWiped",
	"G9_ClearErrors/G9a_Unreachable", "G9_ClearErrors/G9a_Refused",
	"G10_Cost/HandOver", "G10_Cost/Renewal", "G13_CleanEnd/CloseUnreachable",
}

// run runs the suite and returns what it found, without failing t for it.
func run(t *testing.T, h Harness, selected func(id, name string) bool) []Result {
	s := newSuite(t, h)
	s.attempts = 1
	s.start(selected)
	var results []Result
	for _, g := range guarantees() {
		for _, ck := range g.checks {
			if selected(g.id, ck.name) {
				results = append(results, s.result(g.id, ck))
			}
		}
	}
	return results
}
