// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker/servertest/history"
	"github.com/golocker/locker/servertest/proxy"
)

const (
	processes = 3
	threads   = 3 // that share the one Locker of a process
	mostAtOne = 2 // faults at one time, of different clients
)

// A Config says what is run.
type Config struct {
	Store  Store
	Faults []Fault       // they come in an order that the seed decides, again and again
	Seed   uint64        // decides what clients do, and when what goes wrong
	Time   time.Duration // how long clients begin new work
	Long   bool          // clients hold locks through renewals more often than usual
	Worker []string      // the command of a client; nil: this binary, whose TestMain calls Worker
	Dir    string        // where the history and the logs are kept if something is wrong
	Keep   bool          // they are kept in any case
}

// A run is one run while it lasts.
type run struct {
	Config
	TTL     time.Duration
	t       testing.TB
	place   Place
	dir     string
	history *history.Recorder
	desk    *desk
	clients map[string]*client
	proxies map[string][]*proxy.Proxy
	news    chan struct{} // holds one: an event has come
	begun   time.Time

	mu      sync.Mutex
	events  []history.Event
	ops     int64
	over    bool
	audits  []Plan
	phase   map[int64]phase      // of the Locks and leases that are not over
	faults  int64                // numbers given to faults
	armed   map[string]bool      // clients that are stopped when they read next
	stopped map[string]time.Time // when they were
	granted map[string]func()    // what is done when a client gets a lock for long

	active  []*active // what is wrong now; of the main goroutine, as what follows
	counts  map[string]int
	victims int

	verdicts []history.Verdict // of the audit
}

// active is a fault, and when its next step is due.
type active struct {
	injected
	fault Fault
	op    int64
	due   time.Time
}

// Run starts the store and the clients, breaks things, and judges what the
// clients saw.
func Run(t testing.TB, cfg Config) Result {
	t.Helper()
	r := &run{
		Config: cfg, TTL: cfg.Store.Promise.TTL, t: t,
		clients: map[string]*client{}, proxies: map[string][]*proxy.Proxy{},
		news: make(chan struct{}, 1), phase: map[int64]phase{}, armed: map[string]bool{}, stopped: map[string]time.Time{}, granted: map[string]func(){}, counts: map[string]int{},
	}
	if r.TTL == 0 {
		r.TTL = cfg.Store.Rhythm
	}
	if r.Worker == nil {
		r.Worker = []string{executable(t), "-test.run=^$"}
	}
	r.prepare()
	r.play()
	r.finish()
	return r.judge()
}

func executable(t testing.TB) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// reclaim is the longest time from a holder's death to the next grant.
func (r *run) reclaim() time.Duration { return r.Store.Promise.Reclaim }

// prepare starts everything that the run needs.
func (r *run) prepare() {
	r.t.Helper()
	r.place = r.Store.start(r.t)
	r.dir = filepath.Join(r.Dir, strings.NewReplacer("/", "-", " ", "-").Replace(r.t.Name())+fmt.Sprintf("-%x", r.Seed))
	if err := os.RemoveAll(r.dir); err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(r.dir, historyFile))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = file.Close() })
	r.history = history.NewRecorder(file)
	sockets, err := os.MkdirTemp("", "stress") // the path of a socket must be short
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	r.desk, err = openDesk(filepath.Join(sockets, "desk"), r.heard, r.next, r.reading)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.desk.close)
	for i := range processes {
		r.add(fmt.Sprint("c", i+1), filepath.Join(sockets, "desk"), threads)
	}
	r.add(auditor, filepath.Join(sockets, "desk"), 1)
}

// auditor is the client that comes after the others.
const auditor = "audit"

const historyFile = "history.jsonl"

// add makes a client, with a proxy of its own to each server.
func (r *run) add(name, socket string, threads int) {
	var addrs []string
	for _, s := range r.place.Servers {
		addr := s.Addr
		if !r.place.Direct {
			p := proxy.Start(r.t, s.Addr, proxy.Raw)
			r.proxies[name] = append(r.proxies[name], p)
			addr = p.Addr()
		}
		addrs = append(addrs, addr)
	}
	c := newClient(settings{
		Client: name, URL: r.place.URL(addrs), TTL: r.TTL, Socket: socket, Threads: threads, Seed: r.Seed,
	}, r.Worker, r.dir, r.heard)
	r.t.Cleanup(func() {
		c.signal(syscall.SIGCONT)
		c.kill()
	})
	r.clients[name] = c
}

// play lets the clients work while things go wrong.
func (r *run) play() {
	r.t.Helper()
	for name := range r.clients {
		if name != auditor {
			r.start(name)
		}
	}
	r.begun = time.Now()
	stop := watchStalls(func(from, to time.Duration) {
		op := r.number()
		r.heard(history.Event{Op: op, F: history.Stall, Type: history.Invoke, Time: from})
		r.heard(history.Event{Op: op, F: history.Stall, Type: history.OK, Time: to})
	})
	r.t.Cleanup(stop)
	rng := rand.New(rand.NewPCG(r.Seed, 0))
	deck := newDeck(r.Faults, rng)
	next := int64(20) // operations until the first fault
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for r.goesOn() {
		select {
		case <-r.news:
		case <-tick.C:
		}
		r.heal()
		if f, ok := deck.top(); ok && r.operations() >= next && r.mayInject(f) {
			r.inject(deck.draw(), rng)
			next = r.operations() + 8 + rng.Int64N(12)
		}
	}
	for len(r.active) > 0 {
		<-tick.C
		r.heal()
	}
}

// goesOn says whether clients begin new work: for the run's time, and for up to
// as much again until every fault has come.
func (r *run) goesOn() bool {
	ran := time.Since(r.begun)
	if ran < r.Time || r.Store.Slow {
		return ran < r.Time
	}
	return ran < 2*r.Time && len(r.counts) < len(r.Faults)
}

// mayInject says whether a fault may come now.
func (r *run) mayInject(f Fault) bool {
	if f.wanted != nil && !r.anybody(f.wanted) {
		return false
	}
	if f.server {
		return len(r.active) == 0
	}
	return len(r.active) < mostAtOne && !slices.ContainsFunc(r.active, func(a *active) bool { return a.fault.server })
}

func (r *run) inject(f Fault, rng *rand.Rand) {
	a := &active{fault: f, op: r.number()}
	from := history.Now()
	a.injected = f.inject(r, rng)
	if !a.told {
		r.heard(history.Event{Op: a.op, F: history.Fault, Type: history.Invoke, Class: f.Name, Client: a.client, Time: from})
	}
	a.due = time.Now().Add(a.steps[0].after)
	r.active = append(r.active, a)
	r.counts[f.Name]++
}

// heal takes the steps that are due.
func (r *run) heal() {
	now := time.Now()
	r.active = slices.DeleteFunc(r.active, func(a *active) bool {
		if now.Before(a.due) {
			return false
		}
		if a.left != nil {
			if left := a.left(); left > 0 {
				a.due = now.Add(left)
				return false
			}
		}
		a.steps[0].do()
		if a.steps = a.steps[1:]; len(a.steps) > 0 {
			a.due = time.Now().Add(a.steps[0].after)
			return false
		}
		if !a.told {
			r.heard(history.Event{Op: a.op, F: history.Fault, Type: history.OK, Class: a.fault.Name, Client: a.client})
		}
		return true
	})
}

// number returns a number for a fault, apart from those of operations.
func (r *run) number() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults++
	return -r.faults
}

// finish lets the clients end, and has the auditor look at what they left.
func (r *run) finish() {
	r.t.Helper()
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	patience := 3*r.reclaim() + 30*time.Second
	if r.Long { // some of those that wait will hold for long
		patience += 6 * r.TTL
	}
	r.await(patience, slices.DeleteFunc(slices.Sorted(maps.Keys(r.clients)), func(name string) bool { return name == auditor })...)
	r.mu.Lock()
	r.audits = audit(r.Seed, r.ops, r.reclaim()+r.Store.Promise.Slack)
	r.mu.Unlock()
	r.start(auditor)
	r.await(r.reclaim()+60*time.Second, auditor)
}

// await waits for the end of what some clients do, and kills those that are late.
func (r *run) await(patience time.Duration, names ...string) {
	late, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, name := range names {
		c := r.clients[name]
		select {
		case <-c.ended():
			if err := c.failure(); err != nil {
				r.audited("", "%s ended with %v: see %s", name, err, c.log)
			}
		case <-late.Done():
			r.audited("", "%s has not ended: its goroutines wait for locks, or Close does not return", name)
			c.kill()
		}
	}
}

// audited notes what is wrong after the run.
func (r *run) audited(key, format string, args ...any) {
	now := history.Now()
	r.verdicts = append(r.verdicts, history.Verdict{Checker: "audit", Key: key, From: now, To: now, Text: fmt.Sprintf(format, args...)})
}

func (r *run) start(name string) {
	if err := r.clients[name].start(); err != nil {
		r.t.Fatalf("stress: %v", err)
	}
}

// next hands out plans.
func (r *run) next(client string) Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	if client == auditor {
		if len(r.audits) == 0 {
			return Plan{Over: true}
		}
		p := r.audits[0]
		r.audits = r.audits[1:]
		return p
	}
	if r.over {
		return Plan{Over: true}
	}
	p := plan(r.Seed, r.ops, r.TTL, r.Long)
	r.ops++
	p.Op++ // 0 is no operation
	return p
}

func (r *run) operations() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops
}

// heard takes an event of a client, of the desk or of the run itself.
func (r *run) heard(e history.Event) {
	if e.Time == 0 {
		e.Time = history.Now()
	}
	r.history.Record(e)
	r.mu.Lock()
	r.events = append(r.events, e)
	var then func()
	switch {
	case e.F == history.Lock && e.Type == history.Invoke:
		r.phase[e.Op] = phase{client: e.Client, long: plan(r.Seed, e.Op-1, r.TTL, r.Long).Hold > r.TTL/2}
	case e.F == history.Lock && e.Type == history.OK:
		r.phase[e.Op] = phase{client: e.Client, long: r.phase[e.Op].long, holds: true, since: time.Now()}
		if r.phase[e.Op].long {
			then, r.granted[e.Client] = r.granted[e.Client], nil
		}
	case e.F == history.Lock, e.F == history.Unlock:
		delete(r.phase, e.Op)
	case e.F == history.Kill && e.Type == history.OK:
		maps.DeleteFunc(r.phase, func(_ int64, p phase) bool { return p.client == e.Client })
	}
	r.mu.Unlock()
	if then != nil {
		then()
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}
