// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul_test

import (
	"context"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker"
	lockconsul "github.com/golocker/locker/consul"
)

// An application that has a client of Consul already locks through it. A second
// one, with a transport of its own, renews.
func ExampleNew() {
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		panic(err)
	}
	renewals, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		panic(err)
	}
	b, err := lockconsul.New(client, &lockconsul.Config{Prefix: "myapp/", Renewals: renewals})
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
