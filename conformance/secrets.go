// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

var secrets = []check{
	{
		name: "Errors",
		rule: "No error of the backend holds an owner or a password. Otherwise who reads the log can take the lock from its holder, or the store from its owner.",
		run: func(c *probe) {
			p, q, name := c.party(), c.party(), c.name("errors")
			var owners []string
			var errs []error
			try := func(x *party, req backend.Request) *backend.Grant {
				owners = append(owners, req.Owner)
				ctx, cancel := context.WithTimeout(c.ctx, 200*time.Millisecond)
				defer cancel()
				g, err := x.Lock(ctx, req)
				errs = append(errs, err)
				return g
			}
			a := p.hold(name)
			owners = append(owners, a.grant.Owner)
			noWait := q.request(name)
			noWait.NoWait = true
			for _, req := range []backend.Request{noWait, q.request(name)} {
				if g := try(q, req); g != nil {
					q.withdraw(g)
				}
			}
			a.unlock()
			errs = append(errs, p.Unlock(c.within(c.soon()), a.grant), a.renew(c.within(c.soon())))
			if q.link != nil && q.link.Inject(BlackHole) {
				g := try(q, q.request(name))
				if g != nil {
					ctx, cancel := context.WithTimeout(c.ctx, 200*time.Millisecond)
					defer cancel()
					errs = append(errs, q.Withdraw(ctx, g), q.Unlock(ctx, g))
					for _, r := range q.Renew(ctx, []*backend.Grant{g}) {
						errs = append(errs, r.Err)
					}
				}
				q.link.Inject(None)
				if g != nil {
					q.withdraw(g)
				}
			}
			for _, err := range errs {
				c.noSecret(errorText(err), owners...)
			}
		},
	},
	{
		name: "Log",
		rule: "No log line holds an owner or a password.",
		run: func(c *probe) {
			p, name := c.party(), c.name("log")
			s := &spy{Backend: p.Backend}
			a, q := p.applicationOn(s), c.party()
			lease := a.take(name)
			_ = a.Client.Unlock(c.ctx, lease)
			h := q.hold(name)
			_, err := a.Client.Lock(c.ctx, name, locker.NoWait())
			_, err2 := a.Client.Lock(c.ctx, name, locker.MaxWait(100*time.Millisecond))
			h.unlock()
			if p.link != nil && p.link.Inject(BlackHole) {
				ctx, cancel := context.WithTimeout(c.ctx, 200*time.Millisecond)
				_, _ = a.Client.Lock(ctx, name)
				cancel()
				p.link.Inject(None)
			}
			err3 := a.Client.Close()
			s.mu.Lock()
			owners := slices.Clone(s.owners)
			s.mu.Unlock()
			c.noSecret(a.log.String(), owners...)
			for _, err := range []error{err, err2, err3} {
				c.noSecret(errorText(err), owners...)
			}
		},
	},
}

// noSecret fails if a text that people read holds an owner or a secret.
func (c *probe) noSecret(text string, owners ...string) {
	for _, owner := range owners {
		if strings.Contains(text, owner) {
			c.Fatalf("a text for people holds the owner of a request: %q", strings.ReplaceAll(text, owner, "<OWNER>"))
		}
	}
	for _, secret := range c.h.Secrets {
		if strings.Contains(text, secret) {
			c.Fatalf("a text for people holds a secret: %q", strings.ReplaceAll(text, secret, "<SECRET>"))
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
