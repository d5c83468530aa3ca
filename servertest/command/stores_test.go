// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package command_test

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/golocker/locker/servertest"
	"github.com/golocker/locker/servertest/proxy"
)

// A store is one that the command is tested on.
type store struct {
	spec servertest.Spec // of its server; without one it is lock files
	// url is the URL at an address, with prefix if the store has prefixes. The
	// address of lock files is their directory.
	url    func(addr string) string
	prefix string
	// ttl is a short one that the store takes; see shortTTL.
	ttl string
	// note says whether others can read the holder's note, waiters whether
	// they can count who waits.
	note, waiters bool
	// freed is the status of a holder whose command ends on SIGTERM, after an
	// operator freed the lock.
	freed int
	// lose lists what takes the lock away from its holder.
	lose map[string]func(l *lock)
	// guarded starts a server that refuses some. It returns its address, a URL
	// that it accepts, and those that it refuses with a part of what is said.
	guarded func(t testing.TB) (addr, good string, bad map[string]refusal)
}

type refusal struct{ url, part string }

var stores = map[string]store{
	"file":      files,
	"redis":     redis,
	"etcd":      etcd,
	"postgres":  postgres,
	"zookeeper": zookeeper,
	"consul":    consul,
}

var files = store{
	url:  func(dir string) string { return "file://" + dir },
	note: true,
	lose: map[string]func(*lock){
		"file removed": func(l *lock) {
			sum := sha256.Sum256([]byte(l.name))
			if err := os.Remove(filepath.Join(l.dir, hex.EncodeToString(sum[:])+".lock")); err != nil {
				l.t.Fatal(err)
			}
		},
	},
}

var redis = store{
	spec:    servertest.Redis(),
	url:     func(addr string) string { return "redis://" + addr + "?prefix=app:" },
	prefix:  "app:",
	note:    true,
	waiters: true,
	freed:   74,
	lose: map[string]func(*lock){
		"key deleted": func(l *lock) { l.server.Exec(l.t, "redis-cli", "DEL", "app:"+l.name) },
	},
	guarded: func(t testing.TB) (addr, good string, bad map[string]refusal) {
		s := servertest.Start(t, servertest.Redis(
			"--user", "default", "off",
			"--user", "app", "on", ">secret", "~app:*", "~{app:*", "&*", "+@all",
			"--user", "reader", "on", ">secret", "~*", "&*", "+@all", "-@write", "-@scripting"))
		url := func(user, query string) string { return "redis://" + user + s.Addr + query }
		return s.Addr, url("app:secret@", "?prefix=app:"), map[string]refusal{
			"wrong password": {url("app:wr0ng@", "?prefix=app:"), "WRONGPASS"},
			"no password":    {url("", "?prefix=app:"), "NOAUTH"},
			"other keys":     {url("app:secret@", ""), "permission"},
			"other commands": {url("reader:secret@", ""), "permission"},
		}
	},
}

var etcd = store{
	spec:    servertest.Etcd(),
	url:     func(addr string) string { return "etcd://" + addr + "/app" },
	prefix:  "app/",
	note:    true,
	waiters: true,
	freed:   74,
	lose: map[string]func(*lock){
		"key deleted": func(l *lock) { l.server.Exec(l.t, "etcdctl", "del", etcdHolder(l)) },
		"session ended": func(l *lock) {
			lease, _, _ := strings.Cut(filepath.Base(etcdHolder(l)), "-")
			l.server.Exec(l.t, "etcdctl", "lease", "revoke", lease)
		},
	},
	guarded: func(t testing.TB) (addr, good string, bad map[string]refusal) {
		s := servertest.Start(t, servertest.Etcd("--bcrypt-cost", "4"))
		for _, args := range []string{
			"user add root:secret", "user grant-role root root",
			"role add app", "role grant-permission app --prefix=true readwrite app/",
			"user add app:secret", "user grant-role app app", "auth enable",
		} {
			s.Exec(t, append([]string{"etcdctl"}, strings.Fields(args)...)...)
		}
		url := func(user, path string) string { return "etcd://" + user + s.Addr + path }
		return s.Addr, url("app:secret@", "/app"), map[string]refusal{
			"wrong password": {url("app:wr0ng@", "/app"), "authentication failed"},
			"no password":    {url("", "/app"), "user name is empty"},
			"other keys":     {url("app:secret@", "/other"), "permission denied"},
		}
	},
}

// etcdHolder returns the holder's key, which ends in its lease and its owner.
func etcdHolder(l *lock) string {
	l.t.Helper()
	return strings.TrimSpace(l.server.Exec(l.t, "etcdctl", "get", "--prefix", "--sort-by=CREATE", "--limit=1", "--keys-only", "app/"+l.name+"/"))
}

var postgres = store{
	spec:    servertest.Postgres(),
	url:     func(addr string) string { return servertest.PostgresURL(addr) + "&prefix=app" },
	prefix:  "app",
	waiters: true,
	freed:   74,
	lose: map[string]func(*lock){
		"session ended": (*lock).free,
	},
	guarded: func(t testing.TB) (addr, good string, bad map[string]refusal) {
		s := servertest.Start(t, servertest.Postgres())
		s.Exec(t, "psql", "-U", "postgres", "-c", "CREATE ROLE stranger LOGIN PASSWORD 'secret'", "-c", "REVOKE CONNECT ON DATABASE postgres FROM public")
		good = servertest.PostgresURL(s.Addr)
		return s.Addr, good, map[string]refusal{
			"wrong password": {strings.Replace(good, "secret", "wr0ng", 1), "password authentication failed"},
			"no password":    {strings.Replace(good, ":secret", "", 1), "password"},
			"no rights":      {strings.Replace(good, "postgres:secret", "stranger:secret", 1), "permission denied"},
			"no database":    {strings.Replace(good, "/postgres?", "/other?", 1), "does not exist"},
		}
	},
}

var zookeeper = store{
	spec:    servertest.ZooKeeper("maxSessionTimeout=60000"),
	url:     func(addr string) string { return "zk://" + addr + "/app?tick=500ms" },
	prefix:  "/app/",
	note:    true,
	waiters: true,
	freed:   74,
	lose: map[string]func(*lock){
		"node deleted": (*lock).free,
	},
	guarded: func(t testing.TB) (addr, good string, bad map[string]refusal) {
		s := servertest.Start(t, servertest.ZooKeeper("maxSessionTimeout=60000"))
		url := func(user string) string { return "zk://" + user + s.Addr + "/app?tick=500ms" }
		good = url("app:secret@")
		wantCall(t, good, 0, nil, "run", "x", "true") // it makes /app, for this user alone
		return s.Addr, good, map[string]refusal{
			"wrong password": {url("app:wr0ng@"), "not authenticated"},
			"no password":    {url(""), "not authenticated"},
			"another user":   {url("other:secret@"), "not authenticated"},
		}
	},
}

var consul = store{
	spec:    servertest.Consul(),
	url:     func(addr string) string { return "consul://" + addr + "/app" },
	prefix:  "app/",
	ttl:     "10s",
	note:    true,
	waiters: true,
	freed:   74,
	lose: map[string]func(*lock){
		"key deleted":   (*lock).free,
		"session ended": func(l *lock) { consulHTTP(l.t, http.MethodPut, l.server.Addr, "session/destroy/"+consulHolder(l)) },
	},
	guarded: func(t testing.TB) (addr, good string, bad map[string]refusal) {
		const root, app, wrong = "a37cb4c5-0000-0000-0000-000000000001", "a37cb4c5-0000-0000-5ec2-000000000002", "a37cb4c5-0000-0000-5ec2-000000000003"
		s := servertest.Start(t, servertest.ConsulACL(root))
		manage := func(args ...string) {
			s.Exec(t, append([]string{"consul", "acl"}, append(args, "-token="+root)...)...)
		}
		manage("policy", "create", "-name=app", `-rules=key_prefix "app/" { policy = "write" } session_prefix "" { policy = "write" }`)
		manage("token", "create", "-policy-name=app", "-secret="+app)
		url := func(token, path string) string { return "consul://" + token + s.Addr + path }
		return s.Addr, url(":"+app+"@", "/app"), map[string]refusal{
			"wrong token": {url(":"+wrong+"@", "/app"), "ACL not found"},
			"no token":    {url("", "/app"), "Permission denied"},
			"other keys":  {url(":"+app+"@", "/other"), "Permission denied"},
		}
	},
}

// consulHolder returns the session of the key that was stored first.
func consulHolder(l *lock) string {
	l.t.Helper()
	type contender struct {
		CreateIndex uint64
		Session     string
	}
	var all []contender
	if err := json.Unmarshal(consulHTTP(l.t, http.MethodGet, l.server.Addr, "kv/app/"+l.name+"/?recurse"), &all); err != nil {
		l.t.Fatal(err)
	}
	return slices.MinFunc(all, func(a, b contender) int { return cmp.Compare(a.CreateIndex, b.CreateIndex) }).Session
}

func consulHTTP(t testing.TB, method, addr, path string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+"/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s, %v", method, path, answer.Status, body, err)
	}
	return body
}

// servers are the stores that have one.
func servers() map[string]store {
	all := map[string]store{}
	for name, s := range stores {
		if s.spec.Server != "" {
			all[name] = s
		}
	}
	return all
}

// A lock is one that processes of a test want.
type lock struct {
	store
	t       testing.TB
	name    string
	dir     string             // in which commands leave their traces
	server  *servertest.Server // these two are nil for lock files
	network *proxy.Proxy       // may fail
}

// newLock returns one that no other test wants. start is servertest.Shared, or
// servertest.Start for a test that breaks its server.
func (s store) newLock(t testing.TB, start func(testing.TB, servertest.Spec) *servertest.Server) *lock {
	t.Helper()
	l := &lock{store: s, t: t, name: "a-" + strings.ToLower(rand.Text()[:6]), dir: t.TempDir()}
	if s.spec.Server != "" {
		l.server = start(t, s.spec)
		l.network = proxy.Start(t, l.server.Addr, proxy.Raw)
	}
	t.Cleanup(l.endGroups)
	return l
}

// shortTTL is that of locks which shall expire soon.
func (s store) shortTTL() string { return cmp.Or(s.ttl, "6s") }

// holderURL leads through the network, which may fail; waiterURL does not.
func (l *lock) holderURL() string {
	if l.network == nil {
		return l.waiterURL()
	}
	return l.url(l.network.Addr())
}

func (l *lock) waiterURL() string {
	if l.server == nil {
		return l.url(l.dir)
	}
	return l.url(l.server.Addr)
}

// An inspection is what "locker inspect --json" tells.
type inspection struct {
	Held    bool
	Note    string
	Token   int64
	Waiters int
}

func (l *lock) inspect() (state inspection) {
	l.t.Helper()
	status, stdout, stderr := call(l.t, l.waiterURL(), "inspect", "--json", l.name)
	if err := json.Unmarshal([]byte(stdout), &state); err != nil || status != 0 || stderr != "" {
		l.t.Fatalf("inspect: status %d, stdout %q, stderr %q, %v", status, stdout, stderr, err)
	}
	return state
}

// holdAndWait starts a holder whose command leaves the trace alive, and one who
// waits for it.
func (l *lock) holdAndWait(script string, flags ...string) (holder, waiter *process) {
	l.t.Helper()
	holder = l.start(l.holderURL(), script, flags...)
	await(l.t, l.dir, "alive")
	waiter = l.start(l.waiterURL(), next, flags...)
	if l.waiters {
		eventually(l.t, "somebody waits", func() bool { return l.inspect().Waiters == 1 })
	}
	return holder, waiter
}

// endGroups kills what a failed test has left.
func (l *lock) endGroups() {
	data, err := os.ReadFile(filepath.Join(l.dir, "groups"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.t.Error(err)
	}
	for _, line := range strings.Fields(string(data)) {
		if group, err := strconv.Atoi(line); err == nil && group > 1 {
			_ = syscall.Kill(-group, syscall.SIGKILL)
		}
	}
}
