// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A Mutant is one line of safety taken out of the library. A run must find out,
// by the checker that is named.
type Mutant struct {
	Name     string
	Store    Store
	File     string // from the root of the repository
	Old, New string // Old stands once in File
	Faults   []Fault
	Checker  string
}

// slower is a store with a longer TTL: etcd ends a lease up to a second late, which
// hides what is wrong by less.
func slower(s Store, ttl time.Duration) Store {
	s.Promise.Reclaim += ttl - s.Promise.TTL
	s.Promise.TTL = ttl
	return s
}

// Mutants are lines that a lock is not safe without, at least four for each store.
var Mutants = []Mutant{
	{"no margin", Redis, "hold.go",
		"d = h.until.Add(-backend.Margin(h.grant.TTL))", "d = h.until",
		[]Fault{KillWaiter}, "loss"},
	{"deadlines are not watched", Redis, "keeper.go",
		"if h.lease.ctx.Err() != nil || h.lease.passed(now) {", "if h.lease.ctx.Err() != nil {",
		[]Fault{Partition}, "loss"},
	{"NoRenew is renewed for ever", Redis, "hold.go",
		"if o.NoRenew {", "if false {",
		[]Fault{KillWaiter}, "loss"},
	{"leases are not renewed", Redis, "keeper.go",
		"due[group] = due[group] || h.due(now, 0)", "due[group] = len(h.asked) > 0",
		nil, "loss"}, // a fault would excuse it
	{"nothing is withdrawn", Etcd, "cleaner.go",
		"err := w.client.backend.Withdraw(ctx, x.grant)", "err := ctx.Err()",
		[]Fault{Reset}, "liveness"},

	{"whoever releases frees the lock", Redis, "redis/release.lua",
		"local was = held()", "local was = true",
		[]Fault{KillWaiter}, "overlap"},
	{"a grant counts from its answer", Redis, "redis/request.go",
		"return a.sent.Add(a.left)", "return backend.Now().Add(a.left)",
		[]Fault{LateGrant}, "overlap"},
	{"a renewal counts from its answer", Redis, "redis/release.go",
		"results[i].Until = start.Add(grants[i].TTL)", "_ = start\n\t\t\tresults[i].Until = backend.Now().Add(grants[i].TTL)",
		[]Fault{LateReply}, "overlap"},
	{"a push counts from its reading", Redis, "redis/request.go",
		"until = last.sent.Add(time.Duration(p.server-last.server)*time.Microsecond + p.claim)", "until = p.read.Add(p.claim)",
		[]Fault{PauseWaiter}, "overlap"},
	{"tokens repeat within a second", Redis, "redis/settle.lua",
		"local token = math.max(now, (tonumber(redis.call('GET', fence) or 0) or 0) + 1)", "local token = now - now % 1000000",
		[]Fault{KillWaiter}, "tokens"},
	{"the last waiter comes first", Redis, "redis/settle.lua",
		"head = redis.call('ZRANGE', queue, 0, 0)[1]", "head = redis.call('ZRANGE', queue, -1, -1)[1]",
		[]Fault{KillHolder}, "order"},
	{"unlock leaves the lock for ever", Redis, "redis/release.lua",
		"redis.call('DEL', lock)", "redis.call('PERSIST', lock)",
		[]Fault{KillWaiter}, "liveness"},

	{"who is woken holds", Etcd, "etcd/lock.go",
		"case err == nil && next.key == \"\":", "case err == nil:",
		[]Fault{KillWaiter}, "overlap"},
	{"a grant extends its session", slower(Etcd, 8*time.Second), "etcd/lock.go",
		"if g.Until, err = s.Grant(req.Owner); err != nil {", "if _, err = s.Grant(req.Owner); err == nil {\n\t\tg.Until = backend.Now().Add(s.TTL())\n\t} else {",
		[]Fault{CutGranted}, "overlap"},
	{"a keep-alive counts from its answer", slower(Etcd, 18*time.Second), "etcd/pulses.go",
		"return p.sent.Add(p.ttl), nil", "return backend.Now().Add(p.ttl), nil",
		[]Fault{LateReply}, "overlap"},
	{"a withdrawal deletes nothing", Etcd, "etcd/release.go",
		"if _, err := s.remove(ctx, g); err != nil {", "if err := ctx.Err(); err != nil {",
		[]Fault{Reset}, "liveness"},
	{"all grants have one token", Etcd, "etcd/lock.go",
		"\treturn g, nil\n}\n\n// enqueue", "\tg.Token = 7\n\treturn g, nil\n}\n\n// enqueue",
		[]Fault{KillWaiter}, "tokens"},

	{"a waiter that leaves takes its process's hold along", Postgres, "postgres/gate.go",
		"if g.hold == nil || h.wait == nil || h.wait.granted() {", "if true {",
		[]Fault{Reset}, "overlap"},
	// The grant and the session count both, and each covers for the other: only the
	// date of a statement takes both out.
	{"a grant counts from its answer", Postgres, "postgres/session.go",
		"o := s.flight[0]\n\ts.flight = s.flight[1:]", "o := s.flight[0]\n\to.sent = now\n\ts.flight = s.flight[1:]",
		[]Fault{LateGrant}, "overlap"},
	{"a renewal counts from its answer", Postgres, "postgres/session.go",
		"o := s.flight[0]\n\ts.flight = s.flight[1:]", "o := s.flight[0]\n\to.sent = now\n\ts.flight = s.flight[1:]",
		[]Fault{LateReply}, "overlap"},
	{"the server never ends a silent session", Postgres, "postgres/sql.go",
		"{\"idle_session_timeout\", ms, true}", "{\"idle_session_timeout\", \"0\", true}",
		[]Fault{Vanish}, "liveness"},
	{"all grants have one token", Postgres, "postgres/lock.go",
		"g.Token, g.Until = token,", "g.Token, g.Until = 7,",
		[]Fault{KillWaiter}, "tokens"},

	{"who is woken holds", ZooKeeper, "zookeeper/lock.go",
		"if !waits {", "if !waits || err == nil {",
		[]Fault{Reset}, "overlap"},
	{"a lease without a deadline", ZooKeeper, "zookeeper/lock.go",
		"g.Until, err = s.grant(g)", "_, err = s.grant(g)",
		[]Fault{Reset}, "loss"},
	{"a withdrawal deletes nothing", ZooKeeper, "zookeeper/release.go",
		"_, err := g.Sys.(*hold).session.remove(ctx, g)", "err := ctx.Err()",
		[]Fault{Reset}, "liveness"},
	{"all grants have one token", ZooKeeper, "zookeeper/lock.go",
		"\t\treturn g, nil\n\tcase", "\t\tg.Token = 7\n\t\treturn g, nil\n\tcase",
		[]Fault{KillWaiter}, "tokens"},

	{"who is woken holds", Consul, "consul/lock.go",
		"case next == nil:", "case next == nil, unknown == nil:",
		[]Fault{Reset}, "overlap"},
	{"a lease without a deadline", Consul, "consul/lock.go",
		"if g.Until, err = s.Grant(req.Owner); err != nil {", "if _, err = s.Grant(req.Owner); err != nil {",
		[]Fault{Reset}, "loss"},
	{"a withdrawal deletes nothing", Consul, "consul/release.go",
		"if _, err := s.remove(ctx, g); err != nil {", "if err := ctx.Err(); err != nil {",
		[]Fault{Reset}, "liveness"},
	{"all grants have one token", Consul, "consul/lock.go",
		"\treturn g, nil\n}\n\n// enqueue", "\tg.Token = 7\n\treturn g, nil\n}\n\n// enqueue",
		[]Fault{KillWaiter}, "tokens"},

	{"the file's lock is not asked for", File, "file/hold.go",
		"if !ok {", "if !ok && info == nil {",
		[]Fault{KillWaiter}, "overlap"},
	{"the file's lock is shared", File, "file/flock_unix.go",
		"unix.LOCK_EX|unix.LOCK_NB", "unix.LOCK_SH|unix.LOCK_NB",
		[]Fault{KillWaiter}, "overlap"},
	{"tokens do not grow", File, "file/hold.go",
		"token := max(last+1, since.UnixMicro())", "token := max(last, 1)",
		[]Fault{KillWaiter}, "tokens"},
	{"unlock leaves the file locked", File, "file/hold.go",
		"return errors.Join(unlock(h.file), h.file.Close())", "return h.file.Sync()",
		[]Fault{KillWaiter}, "liveness"},
}

// long says whether only a lease that is held for long shows what is wrong.
func (m Mutant) long() bool {
	return len(m.Faults) == 0 || slices.ContainsFunc(m.Faults, func(f Fault) bool {
		return slices.Contains([]string{LateReply.Name, LateGrant.Name, Partition.Name, CutGranted.Name}, f.Name)
	})
}

// build makes a client of the changed sources, and returns its command.
func (m Mutant) build(t testing.TB, root string) []string {
	t.Helper()
	client := filepath.Join(t.TempDir(), "client")
	if out, err := changed(t, root, m, "-o", client, "./client").CombinedOutput(); err != nil {
		t.Fatalf("stress: build a client without its safety: %v\n%s", err, out)
	}
	return []string{client}
}

// changed is go build, given arguments, of sources that a mutant has changed.
func changed(t testing.TB, root string, m Mutant, args ...string) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	file, err := filepath.Abs(filepath.Join(root, m.File))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(source, []byte(m.Old)); n != 1 {
		t.Fatalf("stress: %q stands %d times in %s, want once", m.Old, n, m.File)
	}
	other := filepath.Join(dir, filepath.Base(m.File))
	write(t, other, bytes.Replace(source, []byte(m.Old), []byte(m.New), 1))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: other}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "overlay.json"), overlay)
	return exec.CommandContext(t.Context(), "go", append([]string{"build", "-overlay", filepath.Join(dir, "overlay.json")}, args...)...)
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (m Mutant) String() string { return fmt.Sprintf("%s: %s", m.Store.Name, m.Name) }
