// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Scheme opens the backends whose URLs begin with its name.
type Scheme struct {
	Name   string  // lower case, such as "redis"
	Params []Param // those of the URL's query, but for ttl, which every scheme has

	// Check says what is wrong with a target, its TTL included, without any
	// I/O: a user's mistake, not the store's refusal. It may be nil. [Open]
	// calls it first.
	Check func(t Target) error

	// Open connects, within 5 s, and checks of the server whatever would
	// break the recipe. t.TTL is set. Nothing is left behind by an error.
	Open func(ctx context.Context, t Target) (Backend, error)
}

// A Param is a parameter of a URL's query.
type Param struct{ Name, Help string }

var registry = struct {
	sync.RWMutex
	schemes map[string]Scheme
}{schemes: map[string]Scheme{}}

// imports names the package that registers a scheme of this module, for the
// error that says which import is missing.
var imports = map[string]string{
	"consul":      "github.com/golocker/locker/consul",
	"consul+unix": "github.com/golocker/locker/consul",
	"consuls":     "github.com/golocker/locker/consul",
	"etcd":        "github.com/golocker/locker/etcd",
	"etcds":       "github.com/golocker/locker/etcd",
	"file":        "github.com/golocker/locker/file",
	"memory":      "github.com/golocker/locker/memory",
	"postgres":    "github.com/golocker/locker/postgres",
	"postgresql":  "github.com/golocker/locker/postgres",
	"redis":       "github.com/golocker/locker/redis",
	"redis+unix":  "github.com/golocker/locker/redis",
	"rediss":      "github.com/golocker/locker/redis",
	"zk":          "github.com/golocker/locker/zookeeper",
	"zks":         "github.com/golocker/locker/zookeeper",
}

// Register makes a scheme known. An adapter calls it from init. It panics if
// the name is not a lower-case URL scheme, is taken, or Open is nil.
func Register(s Scheme) {
	if !isScheme(s.Name) || s.Name != strings.ToLower(s.Name) || s.Open == nil {
		panic(fmt.Sprintf("backend: Register of scheme %q: it needs a lower-case name and Open", s.Name))
	}
	registry.Lock()
	defer registry.Unlock()
	if _, taken := registry.schemes[s.Name]; taken {
		panic(fmt.Sprintf("backend: Register of scheme %q called twice", s.Name))
	}
	registry.schemes[s.Name] = s
}

// Schemes returns the registered schemes, sorted by name.
func Schemes() []Scheme {
	registry.RLock()
	defer registry.RUnlock()
	return slices.SortedFunc(maps.Values(registry.schemes), func(a, b Scheme) int {
		return strings.Compare(a.Name, b.Name)
	})
}

// Check says what is wrong with a target whose TTL is set, without any I/O. An
// unknown scheme or parameter is an error that lists the known ones.
func Check(t Target) error {
	_, err := check(t)
	return err
}

// Open opens the backend of a target whose TTL is set, after Check.
func Open(ctx context.Context, t Target) (Backend, error) {
	s, err := check(t)
	if err != nil {
		return nil, err
	}
	b, err := s.Open(ctx, t)
	if b == nil && err == nil {
		err = fmt.Errorf("the scheme %q opened nothing, without an error", t.Scheme)
	}
	return b, err
}

func check(t Target) (Scheme, error) {
	registry.RLock()
	s, ok := registry.schemes[t.Scheme]
	registry.RUnlock()
	if !ok {
		return s, unknownScheme(t.Scheme)
	}
	for _, key := range slices.Sorted(maps.Keys(t.Query)) {
		if !slices.ContainsFunc(s.Params, func(p Param) bool { return p.Name == key }) {
			return s, fmt.Errorf("unknown parameter %q; known: %s", key, paramNames(s))
		}
	}
	if s.Check == nil {
		return s, nil
	}
	return s, s.Check(t)
}

func unknownScheme(name string) error {
	known := []string{}
	for _, s := range Schemes() {
		known = append(known, s.Name)
	}
	list := strings.Join(known, ", ")
	if list == "" {
		list = "none"
	}
	if path, ours := imports[name]; ours {
		return fmt.Errorf("unknown scheme %q: its package is not imported: add import _ %q (registered: %s)", name, path, list)
	}
	return fmt.Errorf("unknown scheme %q (registered: %s); import the adapter's package, or %q for all of this module's", name, list, "github.com/golocker/locker/backend/all")
}

func paramNames(s Scheme) string {
	names := []string{"ttl"}
	for _, p := range s.Params {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
