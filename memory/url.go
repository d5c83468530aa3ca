// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/golocker/locker/backend"
)

func init() {
	backend.Register(backend.Scheme{
		Name: "memory",
		Check: func(t backend.Target) error {
			if _, err := storeName(t); err != nil {
				return err
			}
			return (&Backend{}).Info().CheckTTL(t.TTL)
		},
		Open: func(_ context.Context, t backend.Target) (backend.Backend, error) {
			name, err := storeName(t)
			if err != nil {
				return nil, err
			}
			return Named(name).Backend(), nil
		},
	})
}

var stores = struct {
	sync.Mutex
	named map[string]*Store
}{named: map[string]*Store{}}

// Named returns the store that clients of the URL memory://NAME share in this
// process, so that a test can reach the locks of an application that was given
// the URL. Slashes at either end of name do not count.
func Named(name string) *Store {
	name = strings.Trim(name, "/")
	stores.Lock()
	defer stores.Unlock()
	s, ok := stores.named[name]
	if !ok {
		s = NewStore()
		stores.named[name] = s
	}
	return s
}

// storeName returns the name in a URL's host and path.
func storeName(t backend.Target) (string, error) {
	if t.User != "" || t.Password != "" {
		return "", errors.New("a memory URL takes no user or password")
	}
	return strings.Join(t.Hosts, ",") + t.Path, nil
}
