// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/servertest/proxy"
)

// A run measures one store.
type run struct {
	t      testing.TB
	store  Store
	addr   string
	unit   time.Duration // a sixtieth of what the run may take
	rng    *rand.Rand
	names  int
	began  time.Time
	result *Run
}

// Measure measures everything on one store, in about the time that is given; the
// death of holders takes as long as the store's TTL has it.
func Measure(t testing.TB, store Store, within time.Duration) *Run {
	t.Helper()
	r := &run{t: t, store: store, unit: within / 60, rng: rand.New(rand.NewPCG(1, 2)), began: time.Now()}
	addr, server := store.start(t)
	r.addr = addr
	r.result = r.about()
	if server != nil && store.Version != nil {
		r.result.Server, _, _ = strings.Cut(strings.TrimSpace(server.Exec(t, store.Version...)), "\n")
	}
	for _, point := range []func(){r.uncontended, r.contended, r.throughput, r.held, r.death, r.fairness, r.growth} {
		point()
	}
	r.result.Took = time.Since(r.began).Seconds()
	return r.result
}

// about says what is measured, and where.
func (r *run) about() *Run {
	result := &Run{
		Store: r.store.Name, Go: runtime.Version(), Date: time.Now().UTC().Format(time.DateOnly),
		Machine: machine(), Pair: r.store.Limit.Pair, Push: r.store.Limit.Push, TTL: r.store.TTL.Seconds(),
		Versions: map[string]string{}, Lacks: map[string]string{},
	}
	modules := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			modules[m.Path] = m.Version
		}
	}
	for _, c := range r.store.contestants() {
		result.Order = append(result.Order, c.Name)
		if c.Name != ours {
			result.Versions[c.Name], result.Lacks[c.Name] = c.Module+" "+modules[c.Module], c.Lacks
		}
	}
	return result
}

func machine() string {
	model := "unknown processor"
	if data, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(data)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model)
}

// progress tells what is being measured.
func (r *run) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: %s after %3.0f s: %s\n", r.store.Name, time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) add(records ...Record) { r.result.Records = append(r.result.Records, records...) }

// name returns one that was not used before.
func (r *run) name() string {
	r.names++
	return fmt.Sprintf("name-%d", r.names)
}

// upTo returns a random part of d.
func (r *run) upTo(d time.Duration) time.Duration { return time.Duration(r.rng.Int64N(int64(d) + 1)) }

// patience bounds everything that is waited for.
const patience = 2 * time.Minute

func (r *run) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.t.Context(), patience)
}

// open opens a client at an address, which the caller closes.
func (r *run) open(c Contestant, addr string, ttl time.Duration) Client {
	r.t.Helper()
	ctx, cancel := r.bounded()
	defer cancel()
	client, err := c.Open(ctx, addr, ttl)
	if err != nil {
		r.t.Fatalf("bench: %s: open %s: %v", r.store.Name, c.Name, err)
	}
	return client
}

// counted opens a client whose requests are counted, where there is a wire.
func (r *run) counted(c Contestant, ttl time.Duration) (Client, *proxy.Proxy) {
	r.t.Helper()
	p := r.wire()
	if p == nil {
		return r.open(c, r.addr, ttl), nil
	}
	return r.open(c, p.Addr(), ttl), p
}

// wire returns a proxy to the server, if there is one.
func (r *run) wire() *proxy.Proxy {
	r.t.Helper()
	if r.store.Protocol == nil {
		return nil
	}
	p, err := proxy.New(r.addr, r.store.Protocol)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *run) must(c Contestant, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("bench: %s: %s: %v", r.store.Name, c.Name, err)
	}
}
