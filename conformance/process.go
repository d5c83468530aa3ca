// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/golocker/locker/backend"
)

func processes(c *probe) {
	const children = 3
	rounds := 20
	if c.info.Poll > 0 {
		rounds = 5
	}
	file := filepath.Join(c.TempDir(), c.tag)
	if err := os.WriteFile(file, []byte("0"), 0o600); err != nil {
		c.Fatalf("%v", err)
	}
	var all []*child
	for range children {
		all = append(all, c.child())
	}
	for _, p := range all {
		p.ask(fmt.Sprint("count ", c.name("counter"), " ", file, " ", rounds))
	}
	for _, p := range all {
		if line := p.reply(c.suite.limit()); line != "counted" {
			c.late("another process: %s", line)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		c.Fatalf("%v", err)
	}
	if want := fmt.Sprint(children * rounds); string(text) != want {
		c.Fatalf("%d processes added one to a number %d times each, under the lock: it is %s, want %s", children, rounds, text, want)
	}
	tokens, err := os.ReadFile(file + ".tokens")
	if err != nil {
		c.Fatalf("%v", err)
	}
	grow := c.tokens()
	for _, line := range strings.Fields(string(tokens)) {
		token, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			c.Fatalf("%v", err)
		}
		grow(token, "another process")
	}
}

// holding is a stand-in for what another process holds.
func (c *probe) holding(name string) *held {
	return &held{party: &party{probe: c}, grant: &backend.Grant{Request: backend.Request{Name: name, TTL: c.ttl}}}
}

// childHolds starts a process that holds the lock.
func (c *probe) childHolds(name string) (p *child, token int64) {
	p = c.child()
	p.ask("lock " + name)
	if _, err := fmt.Sscanf(p.reply(c.reclaim()), "held %d", &token); err != nil {
		c.Fatalf("another process could not lock: %v", err)
	}
	return p, token
}

func killedHolder(c *probe) {
	name := c.name("killed")
	p, token := c.childHolds(name)
	w := c.party().wait(c.holding(name))
	p.kill()
	h := w.granted(c.reclaim(), "its holder's process was killed")
	if c.info.Fencing && h.grant.Token <= token {
		c.Fatalf("the token went from %d to %d", token, h.grant.Token)
	}
	h.unlock()
}

func killedWaiter(c *probe) {
	name := c.name("killed")
	a := c.party().hold(name)
	p := c.child()
	p.ask("lock " + name)
	c.pause(slack / 4)
	w := c.party().wait(a)
	p.kill()
	w.stillWaits(c.info.Reclaim(c.ttl), "when the process of the waiter before it was killed, while the holder held")
	a.unlock()
	w.granted(2*c.reclaim(), "the process of the waiter before it was killed, and the holder unlocked").unlock()
}

func stoppedHolder(c *probe) {
	name := c.name("stopped")
	p, _ := c.childHolds(name)
	w := c.party().wait(c.holding(name))
	if err := stopProcess(p.cmd.Process); err != nil {
		c.skip("this system cannot stop a process: %v", err)
	}
	defer func() { _ = continueProcess(p.cmd.Process) }()
	if c.neverExpires() {
		w.behind = c.holding(name)
		w.stillWaits(2*c.ttl, "while its holder, which never expires, was stopped")
		_ = continueProcess(p.cmd.Process)
		p.expect("err", "live")
		p.expect("unlock", "unlocked")
		w.granted(c.soon(), "the holder unlocked").unlock()
		return
	}
	b := w.granted(c.reclaim(), "its holder's process was stopped past its TTL")
	b.keep()
	_ = continueProcess(p.cmd.Process)
	p.expect("err", "lost")
	p.ask("unlock")
	if line := p.reply(c.soon()); line == "unlocked" {
		c.Fatalf("Unlock in a process that was stopped past its deadline returned nil, want ErrLost")
	}
	b.excludes(c.party(), "after the process that was stopped went on, and unlocked")
	b.unlock()
}

// neverExpires says whether grants of this store end with their holder only.
func (c *probe) neverExpires() bool {
	h := c.party().lock(c.name("expires"))
	defer h.unlock()
	return h.grant.Until.IsZero()
}

func (p *child) expect(command, want string) {
	p.ask(command)
	if line := p.reply(p.soon()); line != want {
		p.Fatalf("another process answers %q to %q, want %q", line, command, want)
	}
}
