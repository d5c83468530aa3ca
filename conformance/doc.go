// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package conformance tests a backend of package locker: what passes is a
// correct lock, what fails says which guarantee broke and what that does to a
// user. A backend author wires it up in one test:
//
//	func TestMain(m *testing.M) { conformance.Child(); os.Exit(m.Run()) }
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, conformance.Harness{
//			Open: func(t testing.TB) conformance.Client { … },
//			URL:  "mystore://localhost/test",
//		})
//	}
//
// [Harness.Open] is all that must be there. Each further field of [Harness], and
// a [Link] that can break a connection, adds checks; a check that the harness
// cannot run is skipped loudly and counted in the summary. What a backend's Info
// does not promise adds no check and removes none: that Token() is 0 without
// Fencing is checked as well.
//
// The suite opens up to two hundred clients at once, and waits for a hundred names
// in one of them: raise the server's limit of connections and the backend's own
// limit of waiting locks.
//
// # Subtests
//
// They are named after the guarantees, as in G7_ExactUnlock/Twice; a name that
// begins with another ID, as in G7_ExactUnlock/G7a_LostReply, is a schedule that
// has broken a lock before. All run at once, each with names, clients and links
// of its own, whatever -parallel says, since they wait more than they work.
//
// # Safety and liveness
//
// A check of liveness states a bound: Info.Reclaim of the TTL after a death, a
// second or two for what a push brings. If the machine that runs the test stood
// still for more than 100 ms meanwhile, at once or in steps, the failure of such a
// bound is void and the check runs again when the others have ended, three times
// at most; then it ends as an error, never as a pass. The same goes for a store that
// stood still: twice a second a client of its own comes, locks, unlocks and goes,
// which must not take more than 250 ms. It excuses no failure of safety.
//
// # Results
//
// With LOCKER_CONFORMANCE_DIR set, Run writes a [Report] of the checks that were
// asked for there, as JSON and as JUnit XML.
package conformance
