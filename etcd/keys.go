// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
)

// keys are those of a Backend. What is not a lock's begins with a tilde and a
// letter that no escaped name has after one (G11a).
type keys struct{ prefix string }

// directory is what all contenders' keys of a lock begin with.
func (k keys) directory(name string) string { return k.prefix + backend.Escape(name) + "/" }

// contender is the key of one request.
func (k keys) contender(name string, lease clientv3.LeaseID, owner string) string {
	return fmt.Sprintf("%s%x-%s", k.directory(name), int64(lease), backend.Escape(owner))
}

// tombstone is the key that keeps a withdrawn request out.
func (k keys) tombstone(owner string) string { return k.prefix + "~gone/" + backend.Escape(owner) }

// session is the key that lives as long as a lease.
func (k keys) session(lease clientv3.LeaseID) string {
	return fmt.Sprintf("%s~session/%x", k.prefix, int64(lease))
}

// prefixOf turns a URL's path into a prefix.
func prefixOf(path string) string {
	prefix := strings.TrimPrefix(path, "/")
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return prefix
}
