// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package all registers every backend of this module. Import it for its effect,
// or import only the adapters that your URLs name.
package all

import (
	_ "github.com/golocker/locker/consul"
	_ "github.com/golocker/locker/etcd"
	_ "github.com/golocker/locker/file"
	_ "github.com/golocker/locker/memory"
	_ "github.com/golocker/locker/postgres"
	_ "github.com/golocker/locker/redis"
	_ "github.com/golocker/locker/zookeeper"
)
