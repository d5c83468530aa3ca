// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker"
	locketcd "github.com/golocker/locker/etcd"
)

// An application that has a client of etcd already locks through it.
func ExampleNew() {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            []string{"http://localhost:2379"},
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
	})
	if err != nil {
		panic(err)
	}
	defer client.Close()

	b, err := locketcd.New(client, &locketcd.Config{Prefix: "myapp/"})
	if err != nil {
		panic(err)
	}
	c, err := locker.New(b, nil)
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
