// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"cmp"
	"slices"
	"time"
)

// A History is what all processes did, in the order of time.
type History struct {
	Events []Event

	calls   []*call
	leases  []*lease
	windows []window
	keys    []string
}

// A call is one Lock, Renew or Unlock.
type call struct {
	start Event
	end   Event // its Time is Forever if the process died, or still runs
}

func (c *call) ended() bool { return c.end.Time != Forever }

// A lease is what one client held, or believed to hold.
type lease struct {
	op, token   int64
	key, client string
	asked, from time.Duration // Lock was called, and returned
	until       time.Duration // its deadline, as far as the client has looked
	end         time.Duration // from here on the client does not believe in it, as far as it has looked
	why         string        // what ended it
	over        time.Duration // it was unlocked or lost, or its process died; Forever if none is known
	freed       time.Duration // the store has acknowledged its end; Forever if it did not
	denied      time.Duration // start of the first call that was answered with "gone"; Forever if none was
}

// A window is a time in which something was wrong.
type window struct {
	span
	f      F
	class  string
	client string // empty: the server, and so all clients
}

// New makes a history of the events of all processes.
func New(events []Event) *History {
	h := &History{Events: slices.Clone(events)}
	slices.SortStableFunc(h.Events, func(a, b Event) int { return cmp.Compare(a.Time, b.Time) })
	h.readCalls()
	h.readWindows()
	h.readLeases()
	for _, c := range h.calls {
		if !slices.Contains(h.keys, c.start.Key) {
			h.keys = append(h.keys, c.start.Key)
		}
	}
	return h
}

// readCalls pairs starts and ends: of one Op, those of one kind come one after
// the other.
func (h *History) readCalls() {
	type id struct {
		op int64
		f  F
	}
	open := map[id]*call{}
	for _, e := range h.Events {
		if e.F != Lock && e.F != Renew && e.F != Unlock {
			continue
		}
		key := id{e.Op, e.F}
		if e.Type == Invoke {
			c := &call{start: e, end: e}
			c.end.Time, c.end.Type = Forever, Info
			h.calls = append(h.calls, c)
			open[key] = c
		} else if c := open[key]; c != nil {
			c.end = e
		}
	}
}

func (h *History) readWindows() {
	type id struct {
		op int64
		f  F
	}
	open := map[id]int{}
	for _, e := range h.Events {
		switch {
		case e.F != Kill && e.F != Pause && e.F != Fault && e.F != Stall:
		case e.Type == Invoke:
			open[id{e.Op, e.F}] = len(h.windows)
			h.windows = append(h.windows, window{span{e.Time, Forever}, e.F, e.Class, e.Client})
		default:
			if i, ok := open[id{e.Op, e.F}]; ok {
				h.windows[i].to = e.Time
			}
		}
	}
}

func (h *History) readLeases() {
	byOp := map[int64]*lease{}
	for _, c := range h.calls {
		if c.start.F == Lock && c.end.Type == OK {
			l := &lease{
				op: c.start.Op, token: c.end.Token, key: c.start.Key, client: c.start.Client,
				asked: c.start.Time, from: c.end.Time, until: c.end.ValidUntil, freed: Forever, denied: Forever,
				over: Forever, end: Forever, why: "the end of the run",
			}
			h.leases = append(h.leases, l)
			byOp[l.op] = l
		}
	}
	for _, e := range h.Events {
		if l := byOp[e.Op]; l != nil && (e.F == Look || e.F == Lost || e.F == Renew && e.Type == OK) {
			l.until = max(l.until, e.ValidUntil)
		}
	}
	for _, l := range byOp {
		l.ends(l.until, "its deadline")
	}
	for _, c := range h.calls {
		l := byOp[c.start.Op]
		if l == nil || c.start.F == Lock {
			continue
		}
		if c.start.F == Unlock {
			l.ends(c.start.Time, "its unlock")
			l.over = min(l.over, c.start.Time)
			if c.end.Type == OK {
				l.freed = min(l.freed, c.end.Time)
			}
		}
		if c.end.Class == Gone {
			l.denied = min(l.denied, c.start.Time)
		}
	}
	for _, e := range h.Events {
		l := byOp[e.Op]
		if l != nil && e.F == Lost {
			l.ends(e.Time, heardOfLoss)
			l.over = min(l.over, e.Time, e.ValidUntil)
		}
	}
	for _, w := range h.windows {
		for _, l := range h.leases {
			if w.kills(l.client, l.from) {
				at := max(w.from, l.from)
				l.ends(at, "the end of its process")
				l.over = min(l.over, at)
			}
		}
	}
}

// kills says whether a process of a client that did something at t was killed after
// that. It may do things until its death, which is somewhere in the window.
func (w window) kills(client string, t time.Duration) bool {
	return w.f == Kill && w.client == client && (t <= w.from || t <= w.to && w.to != Forever)
}

const heardOfLoss = "the news of its loss"

func (l *lease) ends(at time.Duration, why string) {
	if at < l.end {
		l.end, l.why = at, why
	}
}

// of returns the leases of one lock, in the order in which Lock returned them.
func (h *History) of(key string) []*lease {
	var of []*lease
	for _, l := range h.leases {
		if l.key == key {
			of = append(of, l)
		}
	}
	slices.SortStableFunc(of, func(a, b *lease) int { return cmp.Compare(a.from, b.from) })
	return of
}

// settled returns the first instant from t on at which nothing is wrong with
// the client or the server.
func (h *History) settled(client string, t time.Duration) time.Duration {
	for moved := true; moved; {
		moved = false
		for _, w := range h.windows {
			if w.affects(client) && w.from <= t && t < w.to {
				t, moved = w.to, true
			}
		}
	}
	return t
}

// troubled says whether anything was wrong with the client or the server at some
// time of s.
func (h *History) troubled(client string, s span) bool {
	return slices.ContainsFunc(h.windows, func(w window) bool { return w.affects(client) && w.meets(s) })
}

func (w window) affects(client string) bool {
	return w.f != Stall && (w.client == "" || w.client == client)
}

// stalled says whether the machine stood still at some time of s.
func (h *History) stalled(s span) bool {
	return slices.ContainsFunc(h.windows, func(w window) bool { return w.f == Stall && w.meets(s) })
}
