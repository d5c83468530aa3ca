// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"strings"

	"github.com/golocker/locker/backend"
)

var names = []check{
	{
		name: "Distinct",
		rule: "Different names never share a lock, whatever is in them. Otherwise two things that have nothing to do with each other exclude each other, or wait for ever.",
		run: func(c *probe) {
			p, q := c.party(), c.party()
			var all []*held
			for _, name := range weird(c.name("")) {
				h, err := p.try(name)
				if err != nil {
					c.fail(err, "Lock of %.60q, which nobody holds, while the client holds %d others", name, len(all))
				}
				h.keep()
				all = append(all, h)
			}
			for _, h := range all {
				h.excludes(q, "by name "+h.grant.Name)
			}
			for i := len(all) - 1; i >= 0; i-- {
				all[i].unlock()
				q.mustBeFree(all[i].grant.Name, "it was unlocked, and only other names are held")
			}
		},
	},
	{
		name: "G11a_Waiters",
		rule: "A waiter waits for the holder of its own name alone, not for those of a name above or below it in a path.",
		run: func(c *probe) {
			p, q, base := c.party(), c.party(), c.name("path")
			a := p.hold(base + "/a/b")
			w := q.wait(a)
			b := p.hold(base + "/a")
			w2 := q.wait(b)
			b.unlock()
			w2.granted(c.soon(), "the holder of its name unlocked, that of "+a.grant.Name+" did not").unlock()
			w.stillWaits(0, "when another name was unlocked")
			p.mustBeFree(base+"/a", "only a name below it is held")
			a.unlock()
			w.granted(c.soon(), "the holder unlocked").unlock()
		},
	},
	{
		name: "Dots",
		rule: "The names . and .. are names as any other, and nothing escapes the prefix.",
		run: func(c *probe) {
			p := c.party()
			var all []*held
			for _, name := range []string{".", "..", "/", "../..", "./"} {
				h := p.mustGet(name, c.reclaim(), "another run of this suite may have it, but not for long")
				all = append(all, h)
			}
			for _, h := range all {
				if err := p.Unlock(c.within(c.soon()), h.grant); err != nil {
					c.late("Unlock of %q: %v", h.grant.Name, err)
				}
			}
		},
	},
	{
		name: "Refused",
		rule: "A name that is empty, too long or not UTF-8 is an error before anything is asked of the store.",
		run: func(c *probe) {
			p := c.party()
			s := &spy{Backend: p.Backend}
			a := p.applicationOn(s)
			for _, name := range []string{"", strings.Repeat("x", 513), "\xff\xfe", "a\xc3"} {
				if _, err := a.Client.Lock(c.ctx, name); err == nil || errors.Is(err, backend.ErrLocked) {
					c.Fatalf("Client.Lock(%.20q): %v, want an error about the name", name, err)
				}
			}
			if n := s.count("Lock"); n > 0 {
				c.Fatalf("the backend was asked for %d of the names", n)
			}
		},
	},
}

// weird returns names that a careless store mistakes for each other.
func weird(base string) []string {
	list := []string{
		base, base + "a", base + "A", base + "a/", base + "a/b", base + "a//b", base + "/a", base + "a/../a", base + "a/./b", base + "a/..",
		base + "a%2Fb", base + "a%2fb", base + "a~2Fb", base + "a~b", base + "a~", base + "a%", base + "a%00",
		base + "a b", base + "a+b", base + " a", base + "a ", base + "a\tb", base + "a\nb", base + "a\r\nb", base + "a\x00b", base + "a\x00", base + "\x7f",
		base + "a.b", base + "a.", base + ".a", base + "a:b", base + "a;b", base + "a,b", base + "a|b", base + "a\\b", base + "a'b", base + "a\"b", base + "a*b", base + "a?b", base + "a#b", base + "a{b}", base + "{a}b", base + "a[b]", base + "a$b", base + "a&b=c", base + "a@b",
		base + "é", base + "e\u0301", base + "É", base + "ß", base + "ss", base + "ſ", base + "日本語", base + "🔒", base + "\u202e", base + "\ufeff",
		base + "lock-0000000001", base + "token", base + "queue", base + "gone", base + "fence",
	}
	fill := strings.Repeat("n", 512-len(base)-1)
	return append(list, base+fill, base+fill+"1", base+fill+"2", base+strings.Repeat("/", 512-len(base)))
}
