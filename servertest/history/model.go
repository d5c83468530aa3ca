// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// The search for an order takes exponential time in the worst case, above all if
// many calls have no known end. Here those are the ends of leases that were not
// unlocked, and each has to come before the next lease. For this many calls the
// search was measured to end within a second, so a run takes fresh names before
// a lock has seen more.
const (
	// withdrawn is how long the withdrawal of a cancelled call may take.
	withdrawn = time.Second

	maxCalls  = 300 // of one lock
	modelTime = 20 * time.Second
)

// Model looks, with porcupine, for an order of all calls for one lock in which a
// lock with one owner would have given every answer:
//
//   - Lock is granted while nobody owns the lock, with a larger token than ever
//     before;
//   - "locked" is answered while somebody does;
//   - Unlock and Renew succeed while the lease owns the lock, and are answered
//     "lost" while it does not;
//   - every lease that was not unlocked by the store's word ends once, not before
//     its client has stopped to believe in it, and before the next one begins.
//
// An answer of "locked" counts only if no call without an outcome explains it: a
// request whose answer was lost may have held the lock for a while. Where clients
// queue by themselves (Promise.Alone), one that must not wait does not pass another
// call of its client that waits. What porcupine
// can not decide is a verdict as well, with Undone.
func Model(h *History, p Promise) (found []Verdict) {
	for _, key := range h.keys {
		ops := h.operations(key, p)
		if v := modelVerdict(ops, key); v != nil {
			found = append(found, *v)
		}
	}
	return found
}

func modelVerdict(ops []porcupine.Operation, key string) *Verdict {
	undone := func(why string) *Verdict {
		return &Verdict{Key: key, Undone: true, Text: why}
	}
	if len(ops) > maxCalls {
		return undone(fmt.Sprintf("%d calls, more than %d", len(ops), maxCalls))
	}
	result, info := porcupine.CheckOperationsVerbose(model, ops, modelTime)
	switch result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return undone(fmt.Sprintf("no order of %d calls was found or excluded within %v", len(ops), modelTime))
	}
	longest := 0
	for _, partition := range info.PartialLinearizations() {
		for _, order := range partition {
			longest = max(longest, len(order))
		}
	}
	return &Verdict{Key: key, From: time.Duration(ops[0].Call), To: time.Duration(ops[len(ops)-1].Call), Text: fmt.Sprintf(
		"no order of the %d calls explains all answers; the longest that could be found explains %d", len(ops), longest)}
}

// Draw writes porcupine's picture of the calls for one lock, as HTML.
func (h *History) Draw(out io.Writer, key string, p Promise) error {
	_, info := porcupine.CheckOperationsVerbose(model, h.operations(key, p), modelTime)
	return porcupine.Visualize(model, info, out)
}

// A state is who owns the lock, by the Op of its lease; 0 for nobody.
type state struct{ owner, token int64 }

// A step is a call and its answer, as the model sees it.
type step struct {
	f      F // Lock, Renew, Unlock; end for the end of a lease without the store's word
	op     int64
	token  int64
	answer string // OK, Locked, Gone
}

const end F = "end"

const granted = string(OK)

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(at, in, _ any) (bool, any) { return at.(state).step(in.(step)) },
	DescribeOperation: func(in, _ any) string {
		s := in.(step)
		return fmt.Sprintf("%s op %d token %d: %s", s.f, s.op, s.token, s.answer)
	},
	DescribeState: func(at any) string {
		return fmt.Sprintf("owner op %d, last token %d", at.(state).owner, at.(state).token)
	},
}

func (at state) step(s step) (bool, state) {
	owns := at.owner == s.op
	switch {
	case s.f == Lock && s.answer == granted:
		return at.owner == 0 && (s.token == 0 || s.token > at.token), state{s.op, s.token}
	case s.f == Lock: // locked
		return at.owner != 0, at
	case s.f == end && owns, s.f == Unlock && s.answer == granted:
		return owns, state{0, at.token}
	case s.f == end:
		return true, at
	case s.answer == granted: // Renew
		return owns, at
	}
	return !owns, at // Renew or Unlock: lost
}

// operations translates the calls for one lock.
func (h *History) operations(key string, p Promise) (ops []porcupine.Operation) {
	clients := map[string]int{}
	add := func(client string, s step, during span) {
		if _, ok := clients[client]; !ok {
			clients[client] = len(clients)
		}
		ops = append(ops, porcupine.Operation{
			ClientId: clients[client], Input: s, Call: int64(during.from), Return: int64(max(during.to, during.from+1)),
		})
	}
	leases := h.of(key)
	byOp := map[int64]*lease{}
	for _, l := range leases {
		byOp[l.op] = l
	}
	ghosts := h.ghosts(key, p)
	for _, c := range h.calls {
		if c.start.Key != key {
			continue
		}
		during := span{c.start.Time, c.end.Time}
		l := byOp[c.start.Op]
		switch {
		case c.start.F == Lock && l != nil:
			add(c.start.Client, step{Lock, l.op, l.token, granted}, during)
		case c.end.Class == Locked && c.start.F == Lock && !ghosts.meet(c, during):
			add(c.start.Client, step{Lock, c.start.Op, 0, Locked}, during)
		case l == nil:
		case c.end.Type == OK:
			add(c.start.Client, step{c.start.F, l.op, l.token, granted}, during)
		case c.end.Class == Gone:
			add(c.start.Client, step{c.start.F, l.op, l.token, Gone}, during)
		}
	}
	for _, l := range leases {
		if l.freed == Forever { // else its Unlock ends it
			add(l.client, step{end, l.op, l.token, ""}, span{min(h.over(l, p), l.denied), Forever})
		}
	}
	return ops
}

// A ghost is a call that may have held the lock for a while without knowing it, or
// that may have looked as if it did.
type ghost struct {
	call *call
	span
	local bool // for the other calls of its own client
}

type ghosts []ghost

// ghosts returns the calls whose Lock had no outcome, or got the lock in the end,
// but was in trouble before.
func (h *History) ghosts(key string, p Promise) (all ghosts) {
	for _, c := range h.calls {
		during := span{c.start.Time, min(c.end.Time, h.lastOf(c.start))}
		switch {
		case c.start.F != Lock || c.start.Key != key:
		case c.end.Class == Locked:
			if p.InPassing {
				all = append(all, ghost{call: c, span: during})
			}
		case c.end.Type != OK:
			span := h.lingers(c, p)
			span.to = later(span.to, withdrawn)
			all = append(all, ghost{call: c, span: span})
		case h.troubled(c.start.Client, during):
			all = append(all, ghost{call: c, span: during})
		case p.Alone:
			all = append(all, ghost{call: c, span: during, local: true})
		}
	}
	return all
}

// meet says whether another call than c may explain what it was told during s.
func (all ghosts) meet(c *call, s span) bool {
	return slices.ContainsFunc(all, func(g ghost) bool {
		return g.call != c && g.meets(s) && (!g.local || g.call.start.Client == c.start.Client)
	})
}
