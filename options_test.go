// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

func TestMakeOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		opts []locker.Option
		want locker.Options
	}{
		{"none", nil, locker.Options{}},
		{"NoWait", []locker.Option{locker.NoWait()}, locker.Options{NoWait: true}},
		{"MaxWait", []locker.Option{locker.MaxWait(time.Second)}, locker.Options{MaxWait: time.Second}},
		{"MaxWait(0) is NoWait", []locker.Option{locker.MaxWait(0)}, locker.Options{NoWait: true}},
		{"MaxWait(-1) is NoWait", []locker.Option{locker.MaxWait(-1)}, locker.Options{NoWait: true}},
		{"the last MaxWait counts", []locker.Option{locker.MaxWait(0), locker.MaxWait(time.Second)}, locker.Options{MaxWait: time.Second}},
		{"NoRenew and Note", []locker.Option{locker.NoRenew(), locker.Note("me")}, locker.Options{NoRenew: true, Note: "me"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := locker.MakeOptions(tt.opts...); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// Names and notes are checked before any I/O.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		for _, name := range []string{"", strings.Repeat("a", 513), strings.Repeat("ä", 257), "\xff", "a\xc3"} {
			_, err := c.Lock(t.Context(), name)
			var e *locker.Error
			if !errors.As(err, &e) || e.Op != "lock" {
				t.Errorf("Lock(%.10q): %v", name, err)
			}
			if _, err := locker.Inspect(t.Context(), c, name); err == nil {
				t.Errorf("Inspect(%.10q): no error", name)
			}
		}
		for _, note := range []string{strings.Repeat("a", 1025), "\xff"} {
			if _, err := c.Lock(t.Context(), "x", locker.NoWait(), locker.Note(note)); err == nil {
				t.Errorf("Note(%.10q): no error", note)
			}
		}
		synctest.Wait()
		if n := len(b.calls); n != 0 {
			t.Fatalf("%d calls of the backend", n)
		}
		for _, name := range []string{"a", strings.Repeat("a", 512), strings.Repeat("ä", 256), "a/b", "..", " ", "\x00\n", "日本"} {
			mustUnlock(t, c, mustLock(t, c, name, locker.Note(strings.Repeat("n", 1024))))
		}
	})
}

// An ended ctx fails though the lock is free, without I/O.
func TestEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errWork)
		_, err := c.Lock(ctx, "x")
		wantIs(t, "Lock", err, context.Canceled, errWork)
		wantIsNot(t, "Lock", err, locker.ErrLocked)
		synctest.Wait()
		if n := len(b.calls); n != 0 {
			t.Errorf("%d calls of the backend", n)
		}
	})
}

func TestNewChecksInfoAndTTL(t *testing.T) {
	bounded := func(info *backend.Info) { info.MinTTL, info.MaxTTL = time.Second, time.Minute }
	for _, tt := range []struct {
		name string
		info func(*backend.Info)
		ttl  time.Duration
		want string // in the error; none if empty
	}{
		{"least", bounded, time.Second, ""},
		{"greatest", bounded, time.Minute, ""},
		{"default", bounded, 0, ""},
		{"too short", bounded, time.Second - 1, "from 1s to 1m0s"},
		{"too long", bounded, time.Minute + 1, "from 1s to 1m0s"},
		{"negative", bounded, -1, "from 1s to 1m0s"},
		{"default too long", func(i *backend.Info) { i.MaxTTL = time.Second }, 0, "30s is out of range"},
		{"Fair and Poll", func(i *backend.Info) { i.Fair, i.Poll = true, time.Second }, 0, "both Fair and Poll"},
		{"no name", func(i *backend.Info) { i.Name = "" }, 0, "lacks Name"},
		{"no Reclaim", func(i *backend.Info) { i.Reclaim = nil }, 0, "lacks Name or Reclaim"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newStub()
			b.info = tt.info
			c, err := locker.New(b, &locker.Config{TTL: tt.ttl})
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				want := tt.ttl
				if want == 0 {
					want = locker.DefaultTTL
				}
				if c.TTL() != want || c.Info().Name != "stub" {
					t.Errorf("TTL %v, Info %+v", c.TTL(), c.Info())
				}
				c.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if len(b.calls) != 0 {
				t.Errorf("calls %v", b.calls)
			}
		})
	}
}

// A scheme of the tests: it records the target, and opens a stub.
var opened struct {
	target backend.Target
	stub   *stub
}

func init() {
	backend.Register(backend.Scheme{
		Name:   "stub",
		Params: []backend.Param{{Name: "known"}},
		Open: func(_ context.Context, t backend.Target) (backend.Backend, error) {
			if t.Path == "/refuse" {
				return nil, errDriver
			}
			opened.target, opened.stub = t, newStub()
			return opened.stub, nil
		},
	})
}

func TestOpenURL(t *testing.T) {
	for _, tt := range []struct {
		url  string
		cfg  *locker.Config
		want time.Duration
	}{
		{"stub://", nil, locker.DefaultTTL},
		{"stub://", &locker.Config{TTL: 10 * time.Second}, 10 * time.Second},
		{"stub://?ttl=5s", &locker.Config{TTL: 10 * time.Second}, 5 * time.Second},
		{"stub://host/path?ttl=5s&known=1", nil, 5 * time.Second},
	} {
		c, err := locker.Open(t.Context(), tt.url, tt.cfg)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		if c.TTL() != tt.want || opened.target.TTL != tt.want || opened.target.Logger == nil {
			t.Errorf("%s: TTL %v, target %+v", tt.url, c.TTL(), opened.target)
		}
		c.Close()
		if len(opened.stub.of("close")) != 1 {
			t.Errorf("%s: Close did not close the backend", tt.url)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for url, want := range map[string]string{
		"stub://user:secret@host?unknown=1": `unknown parameter "unknown"; known: known, ttl`,
		"stub://user:secret@host/refuse":    errDriver.Error(),
		"stub://user:secret@host?ttl=0s":    "ttl",
		"stub://user:secret@host?ttl=1h":    "",
		"stub://user:secret@host?ttl=100h":  "out of range",
		"none://user:secret@host":           `unknown scheme "none"`,
		"user:secret@host":                  "must begin with a scheme",
		"stub://user:sec/ret@host":          "",
	} {
		c, err := locker.Open(t.Context(), url, nil)
		if err == nil {
			c.Close()
			if want != "" {
				t.Errorf("%s: no error", url)
			}
			continue
		}
		var e *locker.Error
		if !errors.As(err, &e) || e.Op != "open" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
		if strings.Contains(err.Error(), "sec") && strings.Contains(err.Error(), "ret") {
			t.Errorf("%s: the error quotes the password: %v", url, err)
		}
	}
	opened.stub = nil
	_, err := locker.Open(t.Context(), "stub://?ttl=100h", nil)
	if err == nil || opened.stub == nil || len(opened.stub.of("close")) != 1 {
		t.Errorf("a backend that New refused was not closed: %v", err)
	}
}

// No owner, which is what proves a grant, in any error.
func TestErrorsKeepTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		lease := mustLock(t, c, "x")
		b.unlock = func(context.Context, *backend.Grant) error { return errDriver }
		_, locked := c.Lock(t.Context(), "x", locker.NoWait())
		for _, err := range []error{locked, c.Unlock(t.Context(), lease), lease.Err()} {
			for _, call := range b.of("lock") {
				if err == nil || strings.Contains(err.Error(), call.owner) {
					t.Errorf("error %v", err)
				}
			}
		}
	})
}

// A wrapper of a Locker keeps Inspect; what cannot tell says so.
func TestInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, newStub())
		lease := mustLock(t, c, "x", locker.Note("me"))
		st, err := locker.Inspect(t.Context(), wrapper{c}, "x")
		if err != nil || !st.Held || st.Note != "me" || st.Token != lease.Token() {
			t.Errorf("%+v, %v", st, err)
		}
		_, err = locker.Inspect(t.Context(), fake{}, "x")
		wantIs(t, "Inspect of a fake", err, errors.ErrUnsupported)
		_, err = locker.Inspect(t.Context(), newClient(t, blind{newStub()}), "x")
		wantIs(t, "Inspect of a blind backend", err, errors.ErrUnsupported)
	})
}

type wrapper struct{ locker.Locker }

func (w wrapper) Unwrap() locker.Locker { return w.Locker }

type fake struct{ locker.Locker }

// blind hides the Inspector of a backend.
type blind struct{ backend.Backend }
