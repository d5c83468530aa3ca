// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memory"
)

// nightlyReport stands for the code under test. It must stop when it loses its
// lock.
func nightlyReport(ctx context.Context, l locker.Locker, begun chan<- struct{}) error {
	return locker.Do(ctx, l, "nightly-report", func(ctx context.Context, _ *locker.Lease) error {
		close(begun)
		<-ctx.Done() // a long piece of work
		return nil
	})
}

// A test of what the code does when its lock is lost.
func ExampleBackend_Break() {
	backend := memory.New()
	client, err := locker.New(backend, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	begun, ended := make(chan struct{}), make(chan error)
	go func() { ended <- nightlyReport(context.Background(), client, begun) }()
	<-begun
	backend.Break("nightly-report")

	err = <-ended
	fmt.Println("lost:", errors.Is(err, locker.ErrLost))
	// Output: lost: true
}

// A test of what an application, which opens the URL in its configuration, does
// when another holds the lock.
func ExampleNamed() {
	ctx := context.Background()
	app, err := locker.Open(ctx, "memory://orders", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close()
	other, err := locker.New(memory.Named("orders").Backend(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer other.Close()

	if _, err := other.Lock(ctx, "nightly-report"); err != nil {
		log.Fatal(err)
	}
	_, ok, err := locker.TryLock(ctx, app, "nightly-report")
	fmt.Println(ok, err)
	// Output: false <nil>
}
