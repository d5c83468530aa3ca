// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper_test

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/golocker/locker"
	lockzk "github.com/golocker/locker/zookeeper"
)

// An application reaches ZooKeeper as it does elsewhere, here by TLS.
func ExampleNew() {
	b, err := lockzk.New(lockzk.Config{
		Servers: []string{"zk1:2281", "zk2:2281", "zk3:2281"},
		Dialer:  (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext,
		Chroot:  "/myapp/locks",
	})
	if err != nil {
		panic(err)
	}
	c, err := locker.New(b, &locker.Config{TTL: 20 * time.Second})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	err = locker.Do(context.Background(), c, "nightly-report", func(context.Context, *locker.Lease) error {
		return nil // the work
	})
	if err != nil {
		panic(err)
	}
}
