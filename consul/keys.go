// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"strings"

	"github.com/golocker/locker/backend"
)

// keys are those of a Backend. What is not a lock's begins with a tilde and a
// letter that no escaped name has after one (G11a).
type keys struct{ prefix string }

// directory is what all contenders' keys of a lock begin with.
func (k keys) directory(name string) string { return k.prefix + backend.Escape(name) + "/" }

// contender is the key of one request.
func (k keys) contender(name, owner string) string { return k.directory(name) + backend.Escape(owner) }

// tombstone is the key that keeps a withdrawn request out.
func (k keys) tombstone(owner string) string { return k.prefix + "~gone/" + backend.Escape(owner) }

// probe is a key that nobody has.
func (k keys) probe() string { return k.prefix + "~probe" }

// prefixOf turns a path into a prefix.
func prefixOf(path string) string {
	prefix := strings.TrimPrefix(path, "/")
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return prefix
}
