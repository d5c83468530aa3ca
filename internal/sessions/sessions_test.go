// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker/backend"
)

const ttl = 12 * time.Second

var errDown = errors.New("the network is down")

// run runs f in a bubble, with a session that was opened just now.
func run(t *testing.T, f func(t *testing.T, s *Session, shut context.CancelFunc)) {
	synctest.Test(t, func(t *testing.T) {
		base, shut := context.WithCancel(t.Context())
		defer shut()
		s := New(base)
		s.Extend(backend.Now(), ttl)
		f(t, s, shut)
	})
}

func add(t *testing.T, s *Session, owner string, lost func(error)) {
	t.Helper()
	if err := s.Add(backend.Request{Owner: owner, Lost: lost}); err != nil {
		t.Fatal(err)
	}
}

// A session lasts from the last acknowledged exchange's sending; a grant and an
// exchange that was overtaken extend nothing (G2a).
func TestExtend(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		first := backend.Now()
		add(t, s, "a", nil)
		time.Sleep(ttl / 2)
		if until, err := s.Grant("a"); err != nil || !until.Equal(first.Add(ttl)) {
			t.Errorf("granted until %v, %v", until.Sub(first), err)
		}
		sent := backend.Now()
		time.Sleep(time.Second)
		if !s.Extend(sent, ttl) || !s.Extend(first, ttl) {
			t.Error("a session that lives was not extended")
		}
		if until, _ := s.Grant("a"); !until.Equal(sent.Add(ttl)) {
			t.Errorf("extended until %v after it was sent, want %v", until.Sub(sent), ttl)
		}
	})
}

// An answer that comes past the deadline, less the margin, revives nothing (G5a).
func TestExtendTooLate(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		time.Sleep(ttl - backend.Margin(ttl))
		if s.Extend(backend.Now(), ttl) || !errors.Is(context.Cause(s.Life()), backend.ErrLost) {
			t.Errorf("a dead session was extended: %v", context.Cause(s.Life()))
		}
		if _, err := s.Grant("a"); !errors.Is(err, backend.ErrLost) {
			t.Errorf("a dead session grants: %v", err)
		}
		if err := s.Add(backend.Request{Owner: "b"}); !errors.Is(err, backend.ErrLost) || s.Usable() {
			t.Errorf("a dead session takes a contender: %v", err)
		}
	})
}

// Keep-alives come after the Client's own renewals would, at a third; one that
// fails is repeated, and none is sent past the deadline.
func TestKeepAlive(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		began := backend.Now()
		var at []time.Duration
		s.KeepAlive(func(ctx context.Context) error {
			at = append(at, backend.Now().Sub(began))
			if deadline, ok := ctx.Deadline(); !ok || deadline.Sub(began)-at[len(at)-1] > ttl/6 {
				t.Errorf("a keep-alive has until %v, %t", deadline.Sub(began), ok)
			}
			if len(at) > 2 {
				<-ctx.Done()
				return errDown
			}
			s.Extend(backend.Now(), ttl)
			return nil
		})
		const step = ttl/3 + ttl/20
		if len(at) < 4 || at[0] != step || at[1] != 2*step || at[2] != 3*step {
			t.Errorf("keep-alives at %v", at)
		}
		last := 2*step + ttl - backend.Margin(ttl)
		if ended := backend.Now().Sub(began); ended != last || at[len(at)-1] >= last {
			t.Errorf("it ended at %v, and the last keep-alive was at %v; want %v", ended, at[len(at)-1], last)
		}
	})
}

// Hurry makes a keep-alive due at once, and moves those that follow.
func TestHurry(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		began := backend.Now()
		time.AfterFunc(time.Second, s.Hurry)
		var at []time.Duration
		s.KeepAlive(func(context.Context) error {
			if at = append(at, backend.Now().Sub(began)); len(at) == 2 {
				s.Stop(errDown)
			}
			s.Extend(backend.Now(), ttl)
			return nil
		})
		if want := []time.Duration{time.Second, time.Second + ttl/3 + ttl/20}; !slices.Equal(at, want) {
			t.Errorf("keep-alives at %v, want %v", at, want)
		}
	})
}

// Holders are told what the store said of their session, and nobody else is.
func TestTell(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		var told []string
		for _, owner := range []string{"holder", "waiter", "dropped"} {
			add(t, s, owner, func(err error) { told = append(told, fmt.Sprint(owner, ": ", err)) })
		}
		for _, owner := range []string{"holder", "dropped"} {
			if _, err := s.Grant(owner); err != nil {
				t.Fatal(err)
			}
		}
		s.Drop("dropped")
		if err := s.Lost("it was ended"); !errors.Is(err, backend.ErrLost) {
			t.Errorf("Lost returns %v", err)
		}
		s.Tell()
		if len(told) != 1 || told[0] != "holder: lock lost: it was ended" {
			t.Errorf("told: %q", told)
		}
	})
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		add(t, s, "holder", func(err error) { t.Errorf("the holder of a session past its deadline was told %v", err) })
		if _, err := s.Grant("holder"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(ttl)
		if !s.Expired() {
			t.Error("a session past its deadline has not expired")
		}
		_ = s.Lost("the store says so too")
		s.Tell()
	})
}

// A session with too many tombstones takes no locks, and ends with its last one;
// each request's tombstone counts once.
func TestTombstones(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		add(t, s, "held", nil)
		for i := range maxTombstones + 1 {
			owner := fmt.Sprint(i)
			if !s.Usable() {
				t.Fatalf("not usable with %d tombstones", i)
			}
			add(t, s, owner, nil)
			if s.Doubted(owner) {
				t.Error("a request is doubted from the start")
			}
			s.Doubt(owner)
			if !s.Doubted(owner) {
				t.Error("a doubt is forgotten")
			}
			s.Buried(owner)
			s.Buried(owner)
			s.Drop(owner)
		}
		if s.Usable() || s.Life().Err() != nil {
			t.Errorf("with %d tombstones: usable %t, ended %v", maxTombstones+1, s.Usable(), s.Life().Err())
		}
		s.Drop("held")
		if s.Life().Err() == nil {
			t.Error("it goes on without its last lock")
		}
	})
}

// A session is destroyed until that is acknowledged; after the backend's end there
// are attempts for a last spell, the first one at once.
func TestDestroy(t *testing.T) {
	run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
		s.Stop(errDown)
		attempts := 0
		s.Destroy(func(context.Context) bool { attempts++; return attempts == 5 })
		if attempts != 5 || !s.Gone() {
			t.Errorf("%d attempts, gone %t", attempts, s.Gone())
		}
	})
	for name, succeeds := range map[string]bool{"succeeds at last": true, "does not succeed": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *Session, shut context.CancelFunc) {
				s.Stop(errDown)
				var shutAt time.Time
				late := 0
				s.Destroy(func(ctx context.Context) bool {
					if shutAt.IsZero() {
						shutAt = backend.Now()
						shut()
						return false
					}
					if late++; late == 1 && !backend.Now().Equal(shutAt) {
						t.Errorf("the first attempt after the end came %v later", backend.Now().Sub(shutAt))
					}
					if ctx.Err() != nil {
						t.Error("an attempt has an ended context")
					}
					return succeeds && late == 3
				})
				took := backend.Now().Sub(shutAt)
				if s.Gone() != succeeds || succeeds && late != 3 || late < 3 || took > lastSpell {
					t.Errorf("gone %t, with %d attempts in %v after the end", s.Gone(), late, took)
				}
			})
		})
	}
	// Silence does not take up the whole spell.
	run(t, func(t *testing.T, s *Session, shut context.CancelFunc) {
		s.Stop(errDown)
		shut()
		attempts := 0
		s.Destroy(func(ctx context.Context) bool {
			if attempts++; attempts == 1 {
				<-ctx.Done()
			}
			return attempts == 2
		})
		if attempts != 2 || !s.Gone() {
			t.Errorf("%d attempts, gone %t", attempts, s.Gone())
		}
	})
}

// A session that has passed its deadline takes and grants nothing, though nobody
// has noticed: its process stood still.
func TestUnnoticedDeadline(t *testing.T) {
	for name, use := range map[string]func(s *Session) error{
		"Usable": func(s *Session) error {
			if s.Usable() {
				return nil
			}
			return backend.ErrLost
		},
		"Add":   func(s *Session) error { return s.Add(backend.Request{Owner: "b"}) },
		"Grant": func(s *Session) error { _, err := s.Grant("a"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *Session, _ context.CancelFunc) {
				add(t, s, "a", nil)
				if err := use(s); err != nil {
					t.Errorf("at first: %v", err)
				}
				time.Sleep(ttl - backend.Margin(ttl))
				if err := use(s); !errors.Is(err, backend.ErrLost) {
					t.Errorf("past the deadline: %v, want ErrLost", err)
				}
				if s.Life().Err() == nil {
					t.Error("it lives on")
				}
			})
		})
	}
	if s := New(t.Context()); !s.Usable() || s.Expired() {
		t.Error("a session that is not open yet has expired")
	}
}
