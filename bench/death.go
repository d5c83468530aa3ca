// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// holderVar makes a process a holder that is to be killed.
const holderVar = "LOCKER_BENCH_HOLDER"

type holding struct {
	Store, Contestant, Addr, Name string
	TTL                           time.Duration
}

// Holder makes this process hold a lock until it is killed, if a run has started
// it for that, and then does not return. TestMain calls it first.
func Holder() {
	text := os.Getenv(holderVar)
	if text == "" {
		return
	}
	err := hold(text)
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func hold(text string) error {
	var h holding
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return err
	}
	i := slices.IndexFunc(Stores, func(s Store) bool { return s.Name == h.Store })
	if i < 0 {
		return fmt.Errorf("there is no store %q", h.Store)
	}
	contestants := Stores[i].contestants()
	i = slices.IndexFunc(contestants, func(c Contestant) bool { return c.Name == h.Contestant })
	if i < 0 {
		return fmt.Errorf("there is no contestant %q", h.Contestant)
	}
	ctx := context.Background()
	client, err := contestants[i].Open(ctx, h.Addr, h.TTL)
	if err != nil {
		return err
	}
	if _, err := client.Lock(ctx, h.Name); err != nil {
		return err
	}
	fmt.Println("held")
	<-time.After(time.Hour)
	return nil
}

// death measures from a holder's kill -9 to the grant of one who waits, of all
// contestants at once, since nothing but time passes.
func (r *run) death() {
	r.t.Helper()
	const each = 3
	r.progress("holders are killed")
	contestants := r.store.contestants()
	took := make([]Series, len(contestants))
	errs := make([]error, len(contestants)*each)
	var mu sync.Mutex
	var running sync.WaitGroup
	for i, c := range contestants {
		for n := range each {
			name := r.name()
			running.Go(func() {
				d, err := r.dies(c, name)
				mu.Lock()
				defer mu.Unlock()
				took[i].add(d)
				errs[i*each+n] = err
			})
		}
	}
	running.Wait()
	for i, c := range contestants {
		for _, err := range errs[i*each : (i+1)*each] {
			r.must(c, err)
		}
		r.add(took[i].record(death, c.Name, freed))
	}
	r.add(Record{Point: death, Contestant: ours, Metric: reclaim, Value: r.promised().Seconds()})
}

func (r *run) dies(c Contestant, name string) (time.Duration, error) {
	ctx, cancel := r.bounded()
	defer cancel()
	text, err := json.Marshal(holding{r.store.Name, c.Name, r.addr, name, r.store.TTL})
	if err != nil {
		return 0, err
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	holder := exec.CommandContext(ctx, exe)
	holder.Env, holder.Stderr = append(os.Environ(), holderVar+"="+string(text)), os.Stderr
	out, err := holder.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := holder.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = holder.Wait() }()
	if !bufio.NewScanner(out).Scan() {
		return 0, fmt.Errorf("the holder of %s has ended", c.Name)
	}
	client, err := c.Open(ctx, r.addr, r.store.TTL)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }()
	type end struct {
		at     time.Time
		unlock func() error
		err    error
	}
	granted := make(chan end, 1)
	go func() {
		unlock, err := client.Lock(ctx, name)
		granted <- end{time.Now(), unlock, err}
	}()
	rest(time.Second) // it waits
	killed := time.Now()
	if err := holder.Process.Kill(); err != nil {
		return 0, err
	}
	e := <-granted
	if e.err != nil {
		return 0, e.err
	}
	return e.at.Sub(killed), e.unlock()
}

// promised is the longest time that locker's backend says it takes.
func (r *run) promised() time.Duration {
	r.t.Helper()
	target, err := backend.ParseTarget(r.store.URL(r.addr))
	if err != nil {
		r.t.Fatal(err)
	}
	target.TTL = r.store.TTL
	ctx, cancel := r.bounded()
	defer cancel()
	b, err := backend.Open(ctx, target)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	reclaim := b.Info().Reclaim
	if reclaim == nil {
		return r.store.TTL
	}
	return reclaim(r.store.TTL)
}
