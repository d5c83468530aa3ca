// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/golocker/locker/backend"
)

// TestModel runs random operations of several clients against the store and
// against a model of it, and compares the two after each.
func TestModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// rapid asks a *testing.T for its deadline, which a bubble forbids.
		rapid.Check(struct{ testing.TB }{t}, func(rt *rapid.T) {
			m := &machine{store: NewStore(), names: map[string][]*entry{}, tokens: map[string][]int64{}}
			for range 3 {
				m.clients = append(m.clients, m.store.Backend())
			}
			defer m.stop()
			rt.Repeat(map[string]func(*rapid.T){
				"":          m.check,
				"Lock":      m.lock,
				"Lock too":  m.lock, // twice as often as others
				"NoWait":    m.noWait,
				"Cancel":    m.cancel,
				"Renew":     m.renew,
				"Unlock":    m.unlock,
				"Withdraw":  m.withdraw,
				"Break":     m.breakGrant,
				"Time":      m.time,
				"Reconnect": m.reconnect,
			})
		})
	})
}

// An entry is what the model knows of one call of Lock.
type entry struct {
	*call
	client *Backend
	queued int
	lost   int

	// How it ended, if it did without a grant.
	err error

	granted      bool // perhaps long ago
	since, until time.Time
}

// A machine is the model: for each name the entries that hold (the first) or
// wait (the others), and every entry that ever was.
type machine struct {
	store   *Store
	clients []*Backend
	names   map[string][]*entry
	all     []*entry
	tokens  map[string][]int64 // of each name, as the store gave them, in the order of the grants
}

var (
	modelNames = rapid.SampledFrom([]string{"a", "b"})
	modelTTLs  = rapid.SampledFrom([]time.Duration{time.Second, 2 * time.Second, 3 * time.Second})
)

func (m *machine) newEntry(rt *rapid.T) *entry {
	b := rapid.SampledFrom(m.clients).Draw(rt, "client")
	e := &entry{call: newCall(b, modelNames.Draw(rt, "name")), client: b}
	e.Owner = fmt.Sprintf("owner-%d", len(m.all)) // the same when rapid runs it again
	e.TTL = modelTTLs.Draw(rt, "ttl")
	return e
}

func (m *machine) lock(rt *rapid.T) {
	e := m.newEntry(rt)
	if len(m.names[e.Name]) > 0 {
		e.queued = 1
	}
	m.names[e.Name] = append(m.names[e.Name], e)
	m.all = append(m.all, e)
	e.start(e.client)
	m.settle(e.Name, backend.Now())
}

func (m *machine) noWait(rt *rapid.T) {
	e := m.newEntry(rt)
	e.NoWait = true
	m.all = append(m.all, e)
	e.start(e.client)
	if len(m.names[e.Name]) > 0 {
		e.err = backend.ErrLocked
		return
	}
	m.names[e.Name] = []*entry{e}
	m.settle(e.Name, backend.Now())
}

func (m *machine) cancel(rt *rapid.T) {
	e := m.draw(rt, func(e *entry) bool { return !e.granted && e.err == nil })
	e.call.cancel()
	m.remove(e, context.Canceled)
}

// renew renews what one client was ever granted, perhaps all of it at once.
func (m *machine) renew(rt *rapid.T) {
	b := rapid.SampledFrom(m.clients).Draw(rt, "client")
	var entries []*entry
	var grants []*backend.Grant
	for _, e := range m.all {
		if e.client == b && e.granted && rapid.Bool().Draw(rt, e.Owner) {
			entries, grants = append(entries, e), append(grants, e.grant)
		}
	}
	for i, r := range b.Renew(context.Background(), grants) {
		e := entries[i]
		if !m.holds(e) {
			wantSame(rt, "Renew of a lost grant", r.Err, backend.ErrLost)
			continue
		}
		wantSame(rt, "Renew of a held grant", r.Err, nil)
		e.until = backend.Now().Add(e.TTL)
		if !r.Until.Equal(e.until) {
			rt.Errorf("renewed until %v, want %v", r.Until, e.until)
		}
	}
}

func (m *machine) unlock(rt *rapid.T) {
	e := m.draw(rt, func(e *entry) bool { return e.granted })
	err := e.client.Unlock(context.Background(), e.grant)
	if !m.holds(e) {
		wantSame(rt, "Unlock of a lost grant", err, backend.ErrLost)
		return
	}
	wantSame(rt, "Unlock of a held grant", err, nil)
	m.remove(e, nil)
}

func (m *machine) withdraw(rt *rapid.T) {
	e := m.draw(rt, func(*entry) bool { return true })
	err := e.client.Withdraw(context.Background(), &backend.Grant{Request: e.Request})
	wantSame(rt, "Withdraw", err, nil)
	m.remove(e, backend.ErrLost)
}

func (m *machine) breakGrant(rt *rapid.T) {
	name := modelNames.Draw(rt, "name")
	held := len(m.names[name]) > 0
	if got := m.clients[0].Break(name); got != held {
		rt.Errorf("Break reports %v, want %v", got, held)
	}
	if held {
		m.lose(m.names[name][0], backend.Now())
	}
}

// time lets up to two TTLs pass, to the nanosecond where grants expire.
func (m *machine) time(rt *rapid.T) {
	end := backend.Now().Add(time.Duration(rapid.IntRange(1, 12).Draw(rt, "halves")) * time.Second / 2)
	pass(end.Sub(backend.Now()))
	for name := range m.names {
		for len(m.names[name]) > 0 && !m.names[name][0].until.After(end) {
			e := m.names[name][0]
			m.lose(e, e.until)
		}
	}
}

// reconnect closes a client and puts a new one in its place.
func (m *machine) reconnect(rt *rapid.T) {
	i := rapid.IntRange(0, len(m.clients)-1).Draw(rt, "client")
	m.clients[i].Close()
	for name, list := range m.names {
		m.names[name] = slices.DeleteFunc(list, func(e *entry) bool {
			gone := e.client == m.clients[i]
			if gone && !e.granted {
				e.err = backend.ErrLost
			}
			return gone
		})
		m.settle(name, backend.Now())
	}
	m.clients[i] = m.store.Backend()
}

// draw returns one of the entries that ever were, or skips the action.
func (m *machine) draw(rt *rapid.T, want func(*entry) bool) *entry {
	var fit []*entry
	for _, e := range m.all {
		if want(e) {
			fit = append(fit, e)
		}
	}
	if len(fit) == 0 {
		rt.Skip("none")
	}
	return fit[rapid.IntRange(0, len(fit)-1).Draw(rt, "entry")]
}

func (m *machine) holds(e *entry) bool {
	list := m.names[e.Name]
	return len(list) > 0 && list[0] == e
}

// settle grants a name to its first entry, and waits for the real grant.
func (m *machine) settle(name string, now time.Time) {
	if list := m.names[name]; len(list) > 0 && !list[0].granted {
		e := list[0]
		e.granted, e.since, e.until = true, now, now.Add(e.TTL)
		synctest.Wait()
		if !e.waits() && e.grant != nil {
			m.tokens[name] = append(m.tokens[name], e.grant.Token)
		}
	}
}

// remove takes e away; a Lock that still waits then returns err.
func (m *machine) remove(e *entry, err error) {
	i := slices.Index(m.names[e.Name], e)
	if i < 0 {
		return
	}
	if !e.granted {
		e.err = err
	}
	m.names[e.Name] = slices.Delete(m.names[e.Name], i, i+1)
	m.settle(e.Name, backend.Now())
}

// lose takes the holder away at a time that may have passed.
func (m *machine) lose(e *entry, at time.Time) {
	e.lost++
	m.names[e.Name] = m.names[e.Name][1:]
	m.settle(e.Name, at)
}

func (m *machine) check(rt *rapid.T) {
	synctest.Wait()
	for _, e := range m.all {
		m.checkEntry(rt, e)
	}
	kept := 0
	for name, list := range m.names {
		if ts := m.tokens[name]; !slices.IsSorted(ts) || len(slices.Compact(slices.Clone(ts))) != len(ts) {
			rt.Errorf("the tokens of %s do not grow: %v", name, ts)
		}
		st, err := m.clients[0].Inspect(context.Background(), name)
		wantSame(rt, "Inspect", err, nil)
		want := backend.State{}
		if len(list) > 0 {
			kept++
			e := list[0]
			want = backend.State{Held: true, Note: e.Note, Token: st.Token, Since: e.since, Waiters: len(list) - 1}
			if e.grant != nil {
				want.Token = e.grant.Token
			}
		}
		if st != want {
			rt.Errorf("%s is %+v, want %+v", name, st, want)
		}
	}
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	if len(m.store.names) != kept {
		rt.Errorf("the store keeps %d names, want %d", len(m.store.names), kept)
	}
}

func (m *machine) checkEntry(rt *rapid.T, e *entry) {
	queued, lost := e.counts()
	if queued != e.queued || lost != e.lost {
		rt.Errorf("%s: Queued %d times, Lost %d times, want %d and %d", e.Owner, queued, lost, e.queued, e.lost)
	}
	if waits := !e.granted && e.err == nil; e.waits() != waits {
		rt.Fatalf("%s: waits %v, want %v", e.Owner, e.waits(), waits)
	} else if waits {
		return
	}
	wantSame(rt, "Lock of "+e.Owner, e.call.err, e.err)
	if (e.grant != nil) != e.granted {
		rt.Fatalf("%s: grant %v, want one: %v", e.Owner, e.grant, e.granted)
	}
	if e.granted && !e.grant.Until.Equal(e.since.Add(e.TTL)) {
		rt.Errorf("%s: Until is %v, want %v", e.Owner, e.grant.Until, e.since.Add(e.TTL))
	}
}

func wantSame(rt *rapid.T, what string, err, want error) {
	rt.Helper()
	if !errors.Is(err, want) {
		rt.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// stop ends the calls that still wait.
func (m *machine) stop() {
	for _, e := range m.all {
		e.call.cancel()
	}
	synctest.Wait()
}
