// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/golocker/locker/backend"
)

func init() {
	backend.Register(backend.Scheme{
		Name:   "test",
		Params: []backend.Param{{Name: "zone", Help: "a zone"}, {Name: "ca", Help: "a file"}},
		Check: func(t backend.Target) error {
			if t.Path == "/bad" {
				return errors.New("bad path")
			}
			return nil
		},
		Open: func(context.Context, backend.Target) (backend.Backend, error) { return nil, nil },
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct {
		target backend.Target
		want   []string
	}{
		{backend.Target{Scheme: "nosuch"}, []string{`"nosuch"`, "memory, test", "backend/all"}},
		{backend.Target{Scheme: "file"}, []string{`"file"`, "memory, test", `import _ "github.com/golocker/locker/file"`}},
		{backend.Target{Scheme: "test", Query: url.Values{"zine": {"1"}}}, []string{`"zine"`, "ca, ttl, zone"}},
		{backend.Target{Scheme: "test", Path: "/bad"}, []string{"bad path"}},
	} {
		_, err := backend.Open(t.Context(), tt.target)
		if checkErr := backend.Check(tt.target); checkErr == nil || checkErr.Error() != err.Error() {
			t.Errorf("Check(%v) = %v, but Open says %v", tt.target, checkErr, err)
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Open(%v): error %v, want one that says %s", tt.target, err, want)
			}
		}
	}
	good := backend.Target{Scheme: "test", Query: url.Values{"zone": {"1"}}}
	if err := backend.Check(good); err != nil {
		t.Errorf("Check with a known parameter: %v", err)
	}
	if _, err := backend.Open(t.Context(), good); err == nil || !strings.Contains(err.Error(), "opened nothing") {
		t.Errorf("Open by a scheme that returns neither a backend nor an error: %v", err)
	}
}

func TestSchemesAreSorted(t *testing.T) {
	var names []string
	for _, s := range backend.Schemes() {
		names = append(names, s.Name)
	}
	if want := []string{"memory", "test"}; !slices.Equal(names, want) {
		t.Errorf("Schemes() = %v, want %v", names, want)
	}
}

func TestRegisterPanics(t *testing.T) {
	open := func(context.Context, backend.Target) (backend.Backend, error) { return nil, nil }
	for _, s := range []backend.Scheme{
		{Name: "test", Open: open}, {Name: "Upper", Open: open}, {Name: "", Open: open}, {Name: "nil"},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Register of %q did not panic", s.Name)
				}
			}()
			backend.Register(s)
		}()
	}
}

type plain struct{ backend.Backend }

type inspecting struct{ backend.Backend }

func (inspecting) Inspect(context.Context, string) (backend.State, error) {
	return backend.State{Held: true}, nil
}

type wrapper struct{ backend.Backend }

func (w wrapper) Unwrap() backend.Backend { return w.Backend }

func TestAsWalksWrappers(t *testing.T) {
	if _, ok := backend.As[backend.Inspector](wrapper{wrapper{inspecting{}}}); !ok {
		t.Error("As does not find an Inspector below two wrappers")
	}
	if _, ok := backend.As[backend.Inspector](wrapper{plain{}}); ok {
		t.Error("As finds an Inspector where there is none")
	}
	if _, ok := backend.As[backend.Inspector](wrapper{nil}); ok {
		t.Error("As finds an Inspector in nothing")
	}
}
