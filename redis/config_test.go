// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/urltest"
)

func parseURL(rawURL string) (settings, error) {
	t, err := backend.ParseTarget(rawURL)
	if err != nil {
		return settings{}, err
	}
	return parse(t)
}

// summary shows what a URL decides.
func (s settings) summary() string {
	o := s.options
	text := fmt.Sprintf("%s db=%d user=%q password=%q prefix=%q", strings.Join(o.Addrs, ","), o.DB, o.Username, o.Password, s.Prefix)
	if o.MasterName != "" {
		text += " sentinel=" + o.MasterName
	}
	if o.IsClusterMode {
		text += " cluster"
	}
	if s.AllowEviction {
		text += " evicts"
	}
	if o.TLSConfig != nil {
		text += fmt.Sprintf(" tls(%s %s %s %q)", s.files.CA, s.files.Cert, s.files.Key, o.TLSConfig.ServerName)
	}
	return text
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"redis://", `localhost:6379 db=0 user="" password="" prefix=""`},
		{"redis://h", `h:6379 db=0 user="" password="" prefix=""`},
		{"redis://h:1/2", `h:1 db=2 user="" password="" prefix=""`},
		{"redis://h/", `h:6379 db=0 user="" password="" prefix=""`},
		{"redis://[::1]", `[::1]:6379 db=0 user="" password="" prefix=""`},
		{"redis://[::1]:1", `[::1]:1 db=0 user="" password="" prefix=""`},
		{"redis://u:p%40:s@h", `h:6379 db=0 user="u" password="p@:s" prefix=""`},
		{"redis://:p@h", `h:6379 db=0 user="" password="p" prefix=""`},
		{"redis://h?prefix=app:", `h:6379 db=0 user="" password="" prefix="app:"`},
		{"redis://h?prefix={app}", `h:6379 db=0 user="" password="" prefix="{app}"`},
		{"redis://h?allow_eviction=true", `h:6379 db=0 user="" password="" prefix="" evicts`},
		{"redis://h?cluster=false", `h:6379 db=0 user="" password="" prefix=""`},
		{"redis://a,b:2?cluster=true", `a:6379,b:2 db=0 user="" password="" prefix="" cluster`},
		{"redis://a,b:2/1?sentinel=m", `a:26379,b:2 db=1 user="" password="" prefix="" sentinel=m`},
		{"rediss://h", `h:6379 db=0 user="" password="" prefix="" tls(   "")`},
		{"rediss://h?ca=a&cert=b&key=c&server_name=n", `h:6379 db=0 user="" password="" prefix="" tls(a b c "n")`},
		{"redis+unix:///run/r.sock", `/run/r.sock db=0 user="" password="" prefix=""`},
		{"redis+unix://u:p@/run/r.sock?db=3&prefix=x", `/run/r.sock db=3 user="u" password="p" prefix="x"`},

		{"redis://a,b", "several hosts need sentinel=NAME or cluster=true"},
		{"redis://a?cluster=true&sentinel=m", "parameters cluster and sentinel exclude each other"},
		{"redis://a?sentinel=", "parameter sentinel needs the name of the master"},
		{"redis://a?cluster=maybe", "parameter cluster must be true or false"},
		{"redis://a?allow_eviction=1x", "parameter allow_eviction must be true or false"},
		{"redis://a/1?cluster=true", "a cluster has only database 0"},
		{"redis://a/x", "the path must be the number of a database, such as 0"},
		{"redis://a/-1", "the path must be the number of a database, such as 0"},
		{"redis://a/1/2", "the path must be the number of a database, such as 0"},
		{"redis://secret@a", "a user without a password; for the password of the default user write redis://:password@host"},
		{"redis://a?prefix=a%20b", "redis: the prefix must be printable ASCII without spaces"},
		{"redis://a?prefix=%C3%A4", "redis: the prefix must be printable ASCII without spaces"},
		{"rediss://a?cert=b", "parameters cert and key go together"},
		{"rediss://a?key=b", "parameters cert and key go together"},
		{"redis+unix://", "the path of a socket must follow, as in redis+unix:///run/redis/redis.sock"},
		{"redis+unix://h/run/r.sock", "the path of a socket must follow, as in redis+unix:///run/redis/redis.sock"},
		{"redis+unix:///run/r.sock?db=x", "parameter db must be the number of a database, such as 0"},
	} {
		s, err := parseURL(c.url)
		got := s.summary()
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.url, got, c.want)
		}
	}
}

// Own clients send nothing twice and heed their contexts.
func TestOwnOptions(t *testing.T) {
	o := ownOptions()
	if !o.ContextTimeoutEnabled || o.MaxRetries != -1 || o.DialTimeout <= 0 {
		t.Errorf("%+v", o)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"redis://u:hunter2hunter2@h:1/2?prefix=p", "rediss://:hunter2hunter2@[::1]?ca=a&server_name=n",
		"redis+unix://u:hunter2hunter2@/s?db=1", "redis://a,b:2?cluster=true", "redis://a?sentinel=m&allow_eviction=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		target, err := backend.ParseTarget(rawURL)
		if err != nil || target.Scheme != "redis" && target.Scheme != "rediss" && target.Scheme != "redis+unix" {
			return
		}
		urltest.Check(t, target, func(target backend.Target) string {
			_, err := parse(target)
			return fmt.Sprint(err)
		})
		s, err := parse(target)
		if err != nil {
			return
		}
		if len(s.options.Addrs) == 0 || s.options.DB < 0 || s.options.Password != target.Password.Reveal() {
			t.Errorf("%s: %s", rawURL, s.summary())
		}
		if (s.options.TLSConfig != nil) != (target.Scheme == "rediss") {
			t.Errorf("%s: TLS: %v", rawURL, s.options.TLSConfig != nil)
		}
		if len(s.options.Addrs) > 1 && !s.options.IsClusterMode && s.options.MasterName == "" {
			t.Errorf("%s: %s", rawURL, s.summary())
		}
	})
}
