// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/memory"
)

// The backend is a URL: the same code locks by files on one machine or in a
// server that all machines reach.
func Example() {
	ctx := context.Background()
	client, err := locker.Open(ctx, "memory://", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	err = locker.Do(ctx, client, "nightly-report", func(ctx context.Context, lease *locker.Lease) error {
		fmt.Println("nobody else runs this now") // ctx ends if the lock is lost
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: nobody else runs this now
}

// Three replicas start at once; one migrates the schema, the others wait and
// find it done.
func Example_schemaMigration() {
	client, err := locker.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	version := 1 // of the schema, kept in the database
	migrate := func(ctx context.Context, _ *locker.Lease) error {
		if version == 2 {
			fmt.Println("up to date")
			return nil
		}
		fmt.Println("migrating")
		version = 2
		return ctx.Err() // pass ctx to the database, which then stops on a loss
	}

	var replicas sync.WaitGroup
	for range 3 {
		replicas.Go(func() {
			err := locker.Do(context.Background(), client, "schema", migrate, locker.MaxWait(time.Minute))
			if err != nil {
				log.Print(err)
			}
		})
	}
	replicas.Wait()
	// Output:
	// migrating
	// up to date
	// up to date
}

// Every worker wakes at the full hour; the one that gets the lock does the job,
// the others skip it.
func ExampleTryLock() {
	ctx := context.Background()
	client, err := locker.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	runJob := func(worker string, job func()) {
		lease, ok, err := locker.TryLock(ctx, client, "job/send-invoices", locker.Note(worker))
		switch {
		case err != nil:
			log.Print(err)
		case !ok:
			fmt.Println(worker, "skips it")
		default:
			defer client.Unlock(ctx, lease)
			job()
		}
	}
	runJob("worker 1", func() {
		fmt.Println("worker 1 sends invoices")
		runJob("worker 2", func() { fmt.Println("never: worker 1 has not finished") })
	})
	// Output:
	// worker 1 sends invoices
	// worker 2 skips it
}

// A hundred requests miss the cache; one of them computes the entry.
func Example_cacheRefill() {
	client, err := locker.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var cache sync.Map
	get := func(ctx context.Context, key string) (value any, err error) {
		if value, ok := cache.Load(key); ok {
			return value, nil
		}
		err = locker.Do(ctx, client, "cache/"+key, func(ctx context.Context, _ *locker.Lease) error {
			if v, ok := cache.Load(key); ok { // filled while this one waited
				value = v
				return nil
			}
			fmt.Println("computing", key)
			value = 42
			cache.Store(key, value)
			return nil
		})
		return value, err
	}

	var requests sync.WaitGroup
	for range 100 {
		requests.Go(func() {
			if v, err := get(context.Background(), "answer"); err != nil || v != 42 {
				log.Print(v, err)
			}
		})
	}
	requests.Wait()
	// Output: computing answer
}

// A leader works for as long as it holds the lock, and campaigns again when it
// has lost it.
func Example_leader() {
	store := memory.New()
	client, err := locker.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	ctx, resign := context.WithCancel(context.Background())
	defer resign()
	for term := 1; ctx.Err() == nil; term++ {
		err := locker.Do(ctx, client, "leader", func(ctx context.Context, lease *locker.Lease) error {
			fmt.Println("leading, term", term)
			if term == 1 {
				store.Break("leader") // the store takes the lock away
			} else {
				resign()
			}
			<-ctx.Done() // the leader's work, until it ends
			return context.Cause(ctx)
		})
		fmt.Println("lost:", errors.Is(err, locker.ErrLost))
	}
	// Output:
	// leading, term 1
	// lost: true
	// leading, term 2
	// lost: false
}

// A register refuses whoever is older than the newest holder it has seen. A
// database does the same with a column: UPDATE … SET token = $1 … WHERE token <= $1.
type register struct {
	mu    sync.Mutex
	token int64
	value string
}

func (r *register) write(token int64, value string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token < r.token {
		return errors.New("refused: a newer holder has written")
	}
	r.token, r.value = token, value
	return nil
}

// A holder that was paused past its deadline cannot know that it lost the lock.
// The resource refuses its late write, because a newer token came by.
func ExampleLease_Token() {
	ctx := context.Background()
	store := memory.New()
	client, err := locker.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	var r register

	paused, err := client.Lock(ctx, "register")
	if err != nil {
		log.Fatal(err)
	}
	store.Break("register") // its TTL passes while it is paused
	newer, err := client.Lock(ctx, "register")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Unlock(ctx, newer)

	fmt.Println("newer holder:", r.write(newer.Token(), "new"))
	fmt.Println("paused holder:", r.write(paused.Token(), "old"))
	fmt.Println("value:", r.value)
	// Output:
	// newer holder: <nil>
	// paused holder: refused: a newer holder has written
	// value: new
}
