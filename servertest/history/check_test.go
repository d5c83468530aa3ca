// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var promise = Promise{Fencing: true, Fair: true, TTL: 2 * time.Second, Reclaim: 3 * time.Second, Slack: time.Second}

// A story is a history that is written by hand. Its instants are in
// milliseconds.
type story struct {
	events []Event
	ops    int64
}

func (s *story) at(ms int, e Event) *story {
	e.Time = time.Duration(ms) * time.Millisecond
	if e.Key == "" && e.F != Kill && e.F != Pause && e.F != Fault && e.F != Stall {
		e.Key = "k"
	}
	s.events = append(s.events, e)
	return s
}

// A deed is one Lock with what follows it.
type deed struct {
	*story
	op     int64
	client string
	token  int64
}

func (s *story) asks(client string, at int, more ...func(*Event)) *deed {
	s.ops++
	d := &deed{story: s, op: s.ops, client: client}
	return d.says(at, Lock, Invoke, more...)
}

// locks is a call that begins and is granted at once, for a TTL less the margin.
func (s *story) locks(client string, at int, token int64) *deed {
	return s.asks(client, at).gets(at+10, token)
}

func (d *deed) says(at int, f F, t Type, more ...func(*Event)) *deed {
	e := Event{Op: d.op, Client: d.client, F: f, Type: t, Token: d.token}
	for _, m := range more {
		m(&e)
	}
	d.at(at, e)
	return d
}

func until(ms int) func(*Event) {
	return func(e *Event) { e.ValidUntil = time.Duration(ms) * time.Millisecond }
}

func class(c string) func(*Event) { return func(e *Event) { e.Class = c } }

func (d *deed) gets(at int, token int64) *deed {
	d.token = token
	return d.says(at, Lock, OK, until(at+1740))
}

func (d *deed) waits(at int) *deed        { return d.says(at, Queued, Info) }
func (d *deed) fails(at int, c string)    { d.says(at, Lock, Fail, class(c)) }
func (d *deed) looks(at, valid int) *deed { return d.says(at, Look, OK, until(valid)) }
func (d *deed) isLost(at, valid int) *deed {
	d.suffers(d.client, Fault, min(at, valid)-200, min(at, valid)-190) // else it were lost for nothing
	return d.says(at, Lost, Info, until(valid))
}

func noRenew(e *Event) { e.NoRenew = true }

func (d *deed) renews(at int, answer string) *deed  { return d.calls(at, Renew, answer) }
func (d *deed) unlocks(at int, answer string) *deed { return d.calls(at, Unlock, answer) }

// calls is a call that is answered 10 ms later, or never.
func (d *deed) calls(at int, f F, answer string) *deed {
	d.says(at, f, Invoke)
	switch answer {
	case granted:
		e := []func(*Event){}
		if f == Renew {
			e = append(e, until(at+10+1740))
		}
		return d.says(at+10, f, OK, e...)
	case Gone:
		return d.says(at+10, f, Fail, class(Gone))
	}
	return d.says(at+10, f, Info, class(answer))
}

func (d *deed) writes(at int, f F, prev, value string) *deed {
	return d.says(at, f, OK, func(e *Event) { e.Prev, e.Value = prev, value })
}

// suffers is a time in which something is wrong, with a client or with all.
func (s *story) suffers(client string, f F, from, to int) {
	s.ops++
	s.at(from, Event{Op: s.ops, Client: client, F: f, Type: Invoke}).
		at(to, Event{Op: s.ops, Client: client, F: f, Type: OK})
}

func judge(s *story, p Promise) []Verdict { return Check(New(s.events), p) }

// Where a lease ends with a connection, its holder may hear a moment later that its
// own was ended: for no longer, of no other's, and not where leases are the store's.
func TestHearing(t *testing.T) {
	t.Parallel()
	hears := promise
	hears.Hearing = 100 * time.Millisecond
	for name, tt := range map[string]struct {
		promise Promise
		client  string
		class   string
		heard   int // after the fault, at 1000
		fine    bool
	}{
		"in time":                   {hears, "a", "reset", 1050, true},
		"in time of a refusal":      {hears, "a", "refuse", 1050, true},
		"too late":                  {hears, "a", "reset", 1150, false},
		"of another's connection":   {hears, "b", "reset", 1050, false},
		"of another fault":          {hears, "a", "delay", 1050, false},
		"leases outlive connection": {promise, "a", "reset", 1050, false},
	} {
		s := &story{}
		a := s.locks("a", 0, 1)
		s.ops++
		s.at(1000, Event{Op: s.ops, Client: tt.client, F: Fault, Class: tt.class, Type: Invoke}).
			at(1001, Event{Op: s.ops, Client: tt.client, F: Fault, Class: tt.class, Type: OK})
		s.asks("b", 500).waits(510).gets(1020, 2).unlocks(1200, granted)
		a.says(tt.heard, Lost, Info, until(1750))
		found := Check(New(s.events), tt.promise)
		bad := slices.ContainsFunc(found, func(v Verdict) bool { return v.Checker == "overlap" || v.Checker == "model" })
		if bad == tt.fine {
			t.Errorf("%s: found %v", name, found)
		}
	}
}

// Each bad history is found by the checker that it is written for, for the
// reason that it is written for, and by no other but those that are named with
// it.
func TestCheckers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		tell func(s *story)
		want []string // the checkers that find it, each with what it says
	}{
		// Nothing is wrong.
		{"nothing happened", func(s *story) {}, nil},
		{"one after the other", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.locks("b", 200, 2).unlocks(300, granted)
		}, nil},
		{"a hand-over", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			a.unlocks(100, granted)
			b.gets(105, 2).unlocks(200, granted) // before a's unlock has returned
		}, nil},
		{"a lost lease, then another", func(s *story) {
			s.locks("a", 0, 1).isLost(1760, 1750).unlocks(1900, Gone)
			s.asks("b", 500).waits(510).gets(2020, 2).unlocks(2100, granted)
		}, nil},
		{"a renewed lease", func(s *story) {
			s.locks("a", 0, 1).renews(1000, granted).looks(2500, 2750).isLost(2760, 2750)
			s.asks("b", 1900).waits(1910).gets(3100, 2).unlocks(3200, granted)
		}, nil},
		{"an unlock without an answer", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, Unavailable)
			s.asks("b", 50).waits(60).gets(2000, 2).unlocks(2100, granted)
		}, nil},
		{"a killed holder", func(s *story) {
			s.locks("a", 0, 1)
			s.suffers("a", Kill, 100, 110)
			s.asks("b", 50).waits(60).gets(2000, 2).unlocks(2100, granted)
		}, nil},
		{"granted to a process that is being killed", func(s *story) {
			s.suffers("a", Kill, 95, 200)
			a := s.asks("a", 90)
			a.token = 1
			a.says(100, Lock, OK, func(e *Event) { e.ValidUntil = 9 * time.Second })
			s.asks("b", 210).gets(220, 2).unlocks(300, granted)
		}, []string{"loss: all that the store can have promised"}}, // since the lease is one that lasts
		{"asked for by a process that is being killed", func(s *story) {
			s.suffers("a", Kill, 95, 200)
			s.asks("a", 100)
			s.locks("b", 4000, 2).unlocks(4100, granted)
			s.locks("c", 9000, 3).unlocks(9100, granted)
		}, nil},
		{"a paused holder", func(s *story) {
			s.locks("a", 0, 1).isLost(5000, 1750).unlocks(5010, Gone).writes(5020, PlainWrite, "", "x")
			s.suffers("a", Pause, 100, 4990)
			s.asks("b", 50).waits(60).gets(2000, 2).unlocks(2100, granted)
		}, nil},
		{"a lease that never expires", func(s *story) {
			s.asks("a", 0).says(10, Lock, OK, func(e *Event) { e.ValidUntil, e.Token = Forever, 1 }).unlocks(9000, granted)
		}, []string{"loss: all that the store can have promised"}}, // since the promise has a TTL
		{"told early, then another", func(s *story) {
			s.locks("a", 0, 1).isLost(500, 1750).unlocks(900, Gone)
			s.asks("b", 100).waits(110).gets(600, 2).unlocks(700, granted)
		}, nil},
		{"a renewal learns of the loss", func(s *story) {
			s.locks("a", 0, 1).renews(1000, Gone).isLost(1015, 1750)
			s.asks("b", 100).waits(110).gets(1020, 2).unlocks(1100, granted)
		}, nil},
		{"two that wait for each other, and then are served", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			b, c := s.asks("b", 50).waits(60), s.asks("c", 55).waits(65)
			b.gets(40000, 2).unlocks(40010, granted)
			c.gets(40020, 3).unlocks(40030, granted)
		}, []string{"liveness: b (op 2)", "liveness: c (op 3)"}},
		{"two that wait for each other, to the end", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60)
			s.asks("c", 55).waits(65)
			s.suffers("d", Pause, 40000, 40010) // the end
		}, []string{"liveness: b (op 2)", "liveness: c (op 3)"}},
		{"tokens that went back", func(s *story) {
			a := s.locks("a", 0, 10)
			b := s.asks("b", 50).waits(60)
			a.unlocks(100, granted)
			b.gets(110, 20).unlocks(120, granted)
			s.locks("c", 300, 5).unlocks(400, granted)
		}, []string{"tokens: got token 5 after b", "model: no order of the"}}, // and no order
		{"many lost leases", func(s *story) {
			for i := range 30 {
				s.locks("a", 3000*i, int64(i+1)).isLost(3000*i+1760, 3000*i+1750)
			}
		}, nil},
		{"a server that stays away", func(s *story) {
			s.suffers("", Fault, 100, 9000)
			s.events = s.events[:1]
			s.asks("b", 200).fails(20000, Unavailable)
		}, nil},
		{"locked by a grant that was never heard of", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			s.suffers("b", Pause, 100, 3000)
			a.unlocks(200, granted) // to b
			s.asks("d", 300).fails(310, Locked)
			s.asks("c", 1000).gets(1500, 2).unlocks(1600, granted)
			b.gets(3100, 3).unlocks(3200, granted)
		}, nil},
		{"locked by a holder", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).fails(60, Locked)
		}, nil},
		{"a killed holder that had not looked for long", func(s *story) {
			s.locks("a", 0, 1)
			s.suffers("a", Kill, 4000, 4010)
			s.asks("b", 50).waits(60).gets(6900, 2).unlocks(7000, granted)
		}, nil},
		{"locked by one that was just cancelled", func(s *story) {
			s.asks("a", 0).fails(40, Cancelled)
			s.asks("b", 500).fails(510, Locked)
		}, nil},
		{"locked by a waiter without an outcome", func(s *story) {
			s.asks("a", 0).fails(40, Cancelled)
			s.asks("b", 50).fails(60, Locked)
		}, nil},
		{"tokens of other locks", func(s *story) {
			s.locks("a", 0, 2).unlocks(100, granted)
			for i, e := range (&story{ops: 10}).locks("b", 200, 1).unlocks(300, granted).events {
				e.Key = "other"
				s.at(200+50*i, e)
			}
		}, nil},
		{"a wait behind a holder", func(s *story) {
			a := s.locks("a", 0, 1)
			for at := 1000; at < 9000; at += 1000 {
				a.renews(at, granted)
			}
			a.unlocks(9000, granted)
			s.asks("b", 100).waits(110).gets(9020, 2).unlocks(9100, granted)
		}, nil},
		{"a wait while the server is away", func(s *story) {
			s.suffers("", Fault, 100, 4000)
			s.asks("b", 200).gets(9000, 1).unlocks(9100, granted)
		}, nil},
		{"a wait behind a waiter that died", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60)
			s.suffers("b", Kill, 70, 80)
			s.asks("c", 60).waits(70).gets(3000, 3).unlocks(3100, granted)
		}, nil},
		{"a waiter that died loses its place", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			s.suffers("b", Pause, 70, 3000)
			c := s.asks("c", 200).waits(210)
			a.unlocks(300, granted)
			c.gets(1500, 2).unlocks(1600, granted)
			b.gets(3100, 3).unlocks(3200, granted)
		}, nil},

		{"barged in, after trouble of its own", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			a.unlocks(100, granted)
			s.locks("c", 112, 2).unlocks(130, granted)
			s.suffers("c", Fault, 105, 120)
			b.gets(150, 3).unlocks(160, granted)
		}, nil},

		// Overlap.
		{"two holders", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.locks("b", 50, 2).unlocks(200, granted)
		}, []string{"overlap: two holders for 40ms", "model: no order"}},
		{"two holders, of one client", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.locks("a", 50, 2).unlocks(200, granted)
		}, []string{"overlap: two holders", "model: no order"}},
		{"granted before the deadline of a holder that is silent", func(s *story) {
			s.locks("a", 0, 1)
			s.locks("b", 1700, 2).unlocks(1800, granted)
		}, []string{"overlap: which its deadline ended", "model: no order"}},
		{"granted before the deadline that a renewal has moved", func(s *story) {
			s.locks("a", 0, 1).looks(1000, 2700)
			s.asks("b", 100).waits(110).gets(2010, 2).unlocks(2100, granted)
		}, []string{"overlap: which its deadline ended", "model: no order"}},
		{"granted before the deadline, by the answer of a renewal", func(s *story) {
			s.locks("a", 0, 1).renews(1000, granted)
			s.asks("b", 100).waits(110).gets(2010, 2).unlocks(2100, granted)
		}, []string{"overlap: which its deadline ended", "model: no order"}},
		{"a long lease over a short one", func(s *story) {
			s.locks("a", 0, 1).unlocks(1000, granted)
			s.locks("b", 50, 2).unlocks(100, granted)
			s.locks("c", 200, 3).unlocks(300, granted)
		}, []string{"overlap: b (op 2)", "overlap: c (op 3)", "model: no order"}},

		// Tokens.
		{"a token twice", func(s *story) {
			s.asks("a", 0).gets(90, 1).unlocks(100, granted)
			s.asks("b", 80).gets(120, 1).unlocks(200, granted)
		}, []string{"tokens: got token 1, which a (op 1) had", "model: no order"}},
		{"a token that falls", func(s *story) {
			s.locks("a", 0, 5).unlocks(100, granted)
			s.locks("b", 200, 4).unlocks(300, granted)
		}, []string{"tokens: got token 4 after a (op 1) had 5", "model: no order"}},
		{"a token that falls, of calls at one time", func(s *story) {
			s.asks("a", 0).gets(90, 2).unlocks(92, granted)
			s.asks("b", 50).gets(110, 1).unlocks(120, granted)
		}, []string{"model: no order"}},
		{"no token", func(s *story) {
			s.locks("a", 0, 0).unlocks(100, granted)
		}, []string{"tokens: want a positive one"}},

		// Model.
		{"locked by nobody", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 200).fails(210, Locked)
		}, []string{"model: no order"}},
		{"locked by one that was cancelled a while ago", func(s *story) {
			s.asks("a", 0).fails(40, Cancelled)
			s.asks("b", 1500).fails(1510, Locked)
		}, []string{"model: no order"}},
		{"granted before the deadline, by the news of the loss", func(s *story) {
			s.locks("a", 0, 1).says(3010, Lost, Info, until(3000))
			s.suffers("a", Fault, 500, 600)
			s.asks("b", 100).waits(110).gets(2900, 2).unlocks(2950, granted)
		}, []string{"overlap: which its deadline ended", "model: no order"}},
		{"unlocked what another holds", func(s *story) {
			a := s.locks("a", 0, 1).isLost(1760, 1750)
			s.asks("b", 100).waits(110).gets(2100, 2).unlocks(2500, granted)
			a.unlocks(2200, granted)
		}, []string{"model: no order"}},
		{"unlocked twice", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted).unlocks(200, granted)
		}, []string{"model: no order"}},
		{"renewed after another had it", func(s *story) {
			a := s.locks("a", 0, 1).isLost(1760, 1750)
			s.asks("b", 100).waits(110).gets(2100, 2).unlocks(2200, granted)
			a.says(2300, Renew, Invoke).says(2310, Renew, OK)
		}, []string{"model: no order"}},
		{"lost while it was held", func(s *story) {
			a := s.locks("a", 0, 1)
			a.says(100, Unlock, Invoke).says(110, Unlock, Fail, class(Gone))
			a.says(200, Unlock, Invoke).says(210, Unlock, OK)
		}, []string{"model: no order"}},
		{"too many calls", func(s *story) {
			for i := range maxCalls {
				s.locks("a", i*20, int64(i+1)).unlocks(i*20+15, granted)
			}
		}, []string{"model: more than 300"}},

		// Register.
		{"a lost update", func(s *story) {
			s.locks("a", 0, 1).writes(20, Write, "", "x").writes(20, PlainWrite, "", "x").unlocks(100, granted)
			s.locks("b", 200, 2).writes(220, Write, "", "y").unlocks(300, granted)
		}, []string{"register: lost update: b (op 2, token 2) wrote y over x"}},
		{"a refused write", func(s *story) {
			a := s.locks("a", 0, 1).writes(20, Write, "", "x").unlocks(100, granted)
			s.locks("b", 200, 2).writes(220, Write, "x", "y").unlocks(300, granted)
			a.says(400, Write, Fail, func(e *Event) { e.Prev, e.Value = "x", "z" })
		}, nil},

		// Loss.
		{"a promise without the margin", func(s *story) {
			s.asks("a", 0).says(10, Lock, OK, until(2005), func(e *Event) { e.Token = 1 }).unlocks(100, granted)
		}, []string{"loss: all that the store can have promised"}},
		{"a renewal that promises too much", func(s *story) {
			s.locks("a", 0, 1).looks(100, 2000).unlocks(200, granted)
		}, []string{"loss: all that the store can have promised"}},
		{"believed in past its deadline", func(s *story) {
			s.locks("a", 0, 1).looks(1800, 1750).unlocks(1900, granted)
		}, []string{"loss: believes in its lease 50ms after its deadline"}},
		{"lost for nothing", func(s *story) {
			s.locks("a", 0, 1).says(500, Lost, Info, until(1750))
			s.suffers("b", Fault, 100, 200)
		}, []string{"loss: lost its lease although nothing was wrong"}},
		{"lost for nothing, and the machine stood still", func(s *story) {
			s.locks("a", 0, 1).says(500, Lost, Info, until(1750))
			s.suffers("", Stall, 100, 300)
		}, []string{"loss (void): lost its lease although nothing was wrong"}},
		{"outlives the last renewal by its client", func(s *story) {
			s.asks("a", 0, noRenew).gets(10, 1).renews(1000, granted).looks(2900, 3100).unlocks(3000, granted)
		}, []string{"loss: that nobody else renews for 90ms more than a TTL"}},
		{"not renewed", func(s *story) {
			s.asks("a", 0, noRenew).gets(10, 1).renews(1000, granted).looks(2800, 3005).says(3006, Lost, Info, until(3005))
		}, nil},
		{"told late", func(s *story) {
			s.locks("a", 0, 1).isLost(2100, 1750)
		}, []string{"loss: told of its loss 350ms after the deadline"}},
		{"told late, and the machine stood still", func(s *story) {
			s.locks("a", 0, 1).isLost(2100, 1750)
			s.suffers("", Stall, 1700, 2050)
		}, []string{"loss (void): told of its loss 350ms after the deadline"}},
		{"told late, and another was paused", func(s *story) {
			s.locks("a", 0, 1).isLost(2100, 1750)
			s.suffers("b", Pause, 1700, 2050)
		}, []string{"loss: told of its loss 350ms after the deadline"}},

		// Liveness.
		{"nobody is woken", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60).gets(1300, 2).unlocks(1400, granted)
		}, []string{"liveness: b (op 2) waited for 1.19s although nobody had the lock and nothing was broken, and then got it"}},
		{"nobody is woken, and the wait is given up", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60).fails(1300, Cancelled)
		}, []string{"liveness: and then ended with: cancelled"}},
		{"nobody is woken, to the end", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60)
			s.at(2000, Event{F: Write, Type: OK, Key: "other", Value: "x"})
		}, []string{"liveness: was still waiting at the end"}},
		{"a killed holder for longer than Reclaim", func(s *story) {
			s.locks("a", 0, 1)
			s.suffers("a", Kill, 100, 110)
			s.asks("b", 50).waits(60).gets(5000, 2).unlocks(5100, granted)
		}, []string{"liveness: waited for 1.9s"}},
		{"a cancelled waiter delays another", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60).fails(90, Cancelled)
			s.asks("c", 60).waits(70).gets(2000, 3).unlocks(2100, granted)
		}, []string{"liveness: waited for 1.89s"}},
		{"a cancelled waiter in trouble, for longer than Reclaim", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60).fails(90, Cancelled)
			s.suffers("b", Fault, 70, 80)
			s.asks("c", 60).waits(70).gets(5000, 3).unlocks(5100, granted)
		}, []string{"liveness: waited for 1.91s"}},
		{"a holder that vanished for longer than Reclaim, though its network is still broken", func(s *story) {
			s.locks("a", 0, 1)
			s.suffers("a", Fault, 90, 9000)
			s.suffers("a", Kill, 100, 110)
			s.asks("b", 50).waits(60).gets(5000, 2).unlocks(5100, granted)
		}, []string{"liveness: waited for 1.9s"}},
		{"a killed waiter for longer than Reclaim", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60)
			s.suffers("b", Kill, 70, 80)
			s.asks("c", 60).waits(70).gets(5000, 3).unlocks(5100, granted)
		}, []string{"liveness: c (op 4) waited for 1.92s"}},
		{"after the server is back", func(s *story) {
			s.suffers("", Fault, 100, 1000)
			s.asks("b", 50).waits(60).gets(9000, 2).unlocks(9100, granted)
		}, []string{"liveness: waited for 2s"}},
		{"a fault of another client is no excuse", func(s *story) {
			s.suffers("c", Fault, 0, 9000)
			s.asks("b", 50).gets(2000, 2).unlocks(2100, granted)
		}, []string{"liveness: waited for 1.95s"}},
		{"nobody is woken, and the machine stood still", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60).gets(1300, 2).unlocks(1400, granted)
			s.suffers("", Stall, 200, 900)
		}, []string{"liveness (void): waited for 1.19s"}},
		{"nobody is woken, for longer than the machine's stall explains", func(s *story) {
			s.locks("a", 0, 1).unlocks(100, granted)
			s.asks("b", 50).waits(60).gets(20_000, 2).unlocks(20_100, granted)
			s.suffers("", Stall, 200, 900)
		}, []string{"liveness: waited for 19.89s"}},

		// Order.
		{"served before an earlier waiter", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			c := s.asks("c", 70).waits(80)
			a.unlocks(100, granted)
			c.gets(120, 2).unlocks(130, granted)
			b.gets(150, 3).unlocks(160, granted)
		}, []string{"order: c (op 3) got the lock before b (op 2), which the store had queued 10ms before"}},
		{"barged in", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			a.unlocks(100, granted)
			s.locks("c", 112, 2).unlocks(130, granted)
			b.gets(150, 3).unlocks(160, granted)
		}, []string{"order: c (op 3) got the lock before b (op 2)"}},
		{"queued again, at the end", func(s *story) {
			a := s.locks("a", 0, 1)
			b := s.asks("b", 50).waits(60)
			c := s.asks("c", 70).waits(80)
			b.waits(90)
			a.unlocks(100, granted)
			c.gets(120, 2).unlocks(130, granted)
			b.gets(150, 3).unlocks(160, granted)
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &story{}
			tt.tell(s)
			wantVerdicts(t, judge(s, promise), tt.want)
		})
	}
}

// wantVerdicts compares verdicts with "checker: part of its text".
func wantVerdicts(t *testing.T, got []Verdict, want []string) {
	t.Helper()
	want = slices.Clone(want)
	for _, v := range got {
		name := v.Checker
		if v.Void {
			name += " (void)"
		}
		i := slices.IndexFunc(want, func(w string) bool {
			checker, text, _ := strings.Cut(w, ": ")
			return checker == name && strings.Contains(v.Text, text)
		})
		if i < 0 {
			t.Errorf("not expected: %v", v)
			continue
		}
		want = slices.Delete(want, i, i+1)
	}
	for _, w := range want {
		t.Errorf("not found: %s", w)
	}
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	s := &story{}
	s.suffers("", Fault, 100, 1000)
	s.asks("b", 50).waits(60).gets(9000, 2).unlocks(9100, granted)
	p := promise
	p.Recovery = 7 * time.Second
	wantVerdicts(t, judge(s, p), nil)
	p.Recovery = 5 * time.Second
	wantVerdicts(t, judge(s, p), []string{"liveness: waited for 3s"})
}

// A promise that is not made is not checked.
func TestPromises(t *testing.T) {
	t.Parallel()
	unordered := func(s *story) {
		a := s.locks("a", 0, 1)
		b := s.asks("b", 50).waits(60)
		c := s.asks("b", 70).waits(80)
		a.unlocks(100, granted)
		c.gets(120, 2).unlocks(130, granted)
		b.gets(150, 3).unlocks(160, granted)
	}
	unnumbered := func(s *story) {
		s.locks("a", 0, 0).unlocks(100, granted)
		s.locks("b", 200, 0).unlocks(300, granted)
	}
	endless := func(s *story) {
		s.asks("a", 0).says(10, Lock, OK, func(e *Event) { e.ValidUntil, e.Token = Forever, 1 }).unlocks(9000, granted)
	}
	overtaken := func(s *story) {
		a := s.locks("a", 0, 1)
		b := s.asks("b", 50).waits(60)
		c := s.asks("c", 70).waits(80)
		c2 := s.asks("c", 75).waits(85)
		a.unlocks(100, granted)
		c2.gets(120, 2).unlocks(130, granted)
		b.gets(150, 3).unlocks(160, granted)
		c.gets(180, 4).unlocks(190, granted)
	}
	interleaved := func(s *story) {
		a := s.locks("a", 0, 1)
		b := s.asks("b", 50).waits(60)
		b2 := s.asks("b", 55).waits(65)
		c := s.asks("c", 70).waits(80)
		a.unlocks(100, granted)
		b.gets(120, 2).unlocks(130, granted)
		c.gets(150, 3).unlocks(160, granted)
		b2.gets(180, 4).unlocks(190, granted)
	}
	passing := func(s *story) {
		s.locks("a", 0, 1).unlocks(100, granted)
		s.asks("b", 200).fails(220, Locked)
		s.asks("c", 205).fails(225, Locked)
	}
	impatient := func(s *story) {
		a := s.locks("a", 0, 1)
		b := s.asks("b", 50).waits(60)
		a.unlocks(100, granted)
		s.asks("b", 200).fails(210, Locked)
		s.locks("c", 220, 2).unlocks(260, granted)
		b.gets(300, 3).unlocks(310, granted)
	}
	again := func(s *story) {
		a := s.locks("a", 0, 1)
		s.asks("b", 50).waits(60).fails(100, Cancelled)
		b := s.asks("b", 120).waits(121)
		c := s.asks("c", 150).waits(160)
		a.unlocks(300, granted)
		c.gets(320, 2).unlocks(330, granted)
		b.gets(350, 3).unlocks(360, granted)
	}
	restarted := func(s *story) {
		s.suffers("", Fault, 0, 100)
		a := s.asks("a", 150).waits(160)
		b := s.asks("b", 300).waits(310)
		b.gets(2150, 1).unlocks(2160, granted)
		a.gets(2200, 2).unlocks(2210, granted)
	}
	for _, tt := range []struct {
		name    string
		tell    func(*story)
		promise func(*Promise)
	}{
		{"Entry", unordered, func(p *Promise) { p.Entry = 20 * time.Millisecond }},
		{"Grace", restarted, func(p *Promise) { p.Grace = true }},
		{"Alone, locked by one that waits", impatient, func(p *Promise) { p.Alone = true }},
		{"Alone, after one that was cancelled", again, func(p *Promise) { p.Alone = true }},
		{"InPassing", passing, func(p *Promise) { p.InPassing = true }},
		{"Alone, the earlier one", overtaken, func(p *Promise) { p.Alone = true }},
		{"Alone, the later one", interleaved, func(p *Promise) { p.Alone = true }},
		{"Fair", unordered, func(p *Promise) { p.Fair = false }},
		{"Alone", unordered, func(p *Promise) { p.Alone = true }},
		{"Fencing", unnumbered, func(p *Promise) { p.Fencing = false }},
		{"TTL", endless, func(p *Promise) { p.TTL = 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &story{}
			tt.tell(s)
			if len(judge(s, promise)) == 0 {
				t.Error("it is not found where it is promised")
			}
			p := promise
			tt.promise(&p)
			wantVerdicts(t, judge(s, p), nil)
		})
	}
}

func TestPlainLosses(t *testing.T) {
	t.Parallel()
	s := &story{}
	s.locks("a", 0, 1).writes(20, PlainWrite, "", "x").unlocks(100, granted)
	s.locks("b", 200, 2).writes(220, PlainWrite, "", "y").unlocks(300, granted)
	if got := PlainLosses(New(s.events)); len(got) != 1 {
		t.Errorf("found %v, want one", got)
	}
}

// A long history that is right is decided in time, and one that is wrong too.
func TestModelLimits(t *testing.T) {
	t.Parallel()
	build := func(wrong bool) []Event {
		s := &story{}
		var waiting []*deed
		at := 0
		for i := range 90 {
			for len(waiting) < 7 {
				waiting = append(waiting, s.asks(fmt.Sprint("c", len(waiting)), at).waits(at+1))
				at += 2
			}
			token := int64(i + 1)
			if wrong && i == 80 {
				token = 79
			}
			answer := granted
			if i%2 == 0 {
				answer = Unavailable
			}
			waiting[0].gets(at+5, token).renews(at+10, granted).unlocks(at+25, answer)
			waiting = waiting[1:]
			at += 40
		}
		for _, w := range waiting {
			w.fails(at, Cancelled)
		}
		slices.SortStableFunc(s.events, func(a, b Event) int { return cmp.Compare(a.Time, b.Time) })
		return s.events
	}
	if got := Model(New(build(false)), promise); got != nil {
		t.Errorf("a right history: %v", got)
	}
	got := Model(New(build(true)), promise)
	if len(got) != 1 || got[0].Undone {
		t.Errorf("a wrong history: %v", got)
	}
	var html strings.Builder
	if err := New(build(true)).Draw(&html, "k", promise); err != nil || !strings.Contains(html.String(), "owner op") {
		t.Errorf("the picture: %v, %d bytes", err, html.Len())
	}
}
