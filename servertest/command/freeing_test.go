// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package command_test

import (
	"cmp"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/golocker/locker/servertest"
)

// freeingLines returns the commands of docs/command.md that free a stuck lock, by
// store.
func freeingLines(t testing.TB) map[string]string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## Freeing a stuck lock\n")
	_, block, ok := strings.Cut(section, "\n```sh\n")
	block, _, closed := strings.Cut(block, "\n```\n")
	if !ok || !closed {
		t.Fatal("docs/command.md has no commands that free a stuck lock")
	}
	commands := map[string]string{}
	store := ""
	for line := range strings.Lines(block) {
		if comment, ok := strings.CutPrefix(line, "# "); ok {
			store, _, _ = strings.Cut(comment, ":")
		} else {
			commands[store] += line
		}
	}
	return commands
}

// admin is where an operator runs them: with the server's own tools.
const admin = `
redis-cli() { docker exec "$server" redis-cli "$@"; }
etcdctl() { docker exec "$server" etcdctl "$@"; }
psql() { docker exec "$server" psql -U postgres "$@"; }
consul() { docker exec "$server" consul "$@"; }
zkCli.sh() { docker exec "$server" sh -c 'command -v zkCli.sh >/dev/null && exec zkCli.sh "$@"; exec java -cp "/usr/share/java/*" org.apache.zookeeper.ZooKeeperMain "$@"' sh "$@"; }
`

// free runs the document's command for the lock.
func (l *lock) free() {
	l.t.Helper()
	command := freeingLines(l.t)[cmp.Or(l.spec.Server, "file")]
	operator := exec.CommandContext(l.t.Context(), "bash", "-c", admin+command)
	operator.Env = append(os.Environ(), "name="+l.name, "prefix="+l.prefix, "directory="+l.dir)
	if l.server != nil {
		operator.Env = append(operator.Env, "server="+l.server.Container())
	}
	if out, err := operator.CombinedOutput(); err != nil {
		l.t.Fatalf("%q: %v: %s", command, err, out)
	}
}

func TestFreeingAStuckLock(t *testing.T) {
	t.Parallel()
	if n := len(freeingLines(t)); n != len(stores) {
		t.Errorf("docs/command.md frees locks of %d stores, want %d", n, len(stores))
	}
	for name, s := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := s.newLock(t, servertest.Shared)
			holder, waiter := l.holdAndWait(obedient, "--ttl", l.shortTTL())
			l.free()
			if status := holder.status(); status != s.freed || count(traces(t, l.dir), "told") != 1 {
				t.Errorf("the holder's status is %d, want %d; stderr %q", status, s.freed, holder.stderr.String())
			}
			if status := waiter.status(); status != 0 || count(traces(t, l.dir), "granted") != 1 {
				t.Errorf("the waiter's status is %d, stderr %q", status, waiter.stderr.String())
			}
		})
	}
}
