// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/urltest"
)

func parseURL(rawURL string) (target, error) {
	t, err := backend.ParseTarget(rawURL)
	if err != nil {
		return target{}, err
	}
	return parse(t)
}

// summary shows what a URL decides.
func (out target) summary() string {
	text := out.connString()
	if out.password != "" {
		text += " password=" + out.password
	}
	if out.Config.Key != nil {
		text += " key"
	}
	c := out.Config
	c.Key = nil
	return text + fmt.Sprintf(" %q %d %q %v %v", c.Prefix, c.MaxWaiting, c.Sequence, c.SnapshotAge, c.NoRestartGrace)
}

func TestParse(t *testing.T) {
	const none = ` "" 0 "" 0s false`
	for _, c := range []struct{ url, want string }{
		{"postgres://", "" + none},
		{"postgres://h", "host='h' port='5432'" + none},
		{"postgresql://h:1/db", "host='h' port='1' dbname='db'" + none},
		{"postgres://u:p%40%27s@h/db", "host='h' port='5432' dbname='db' user='u' password=p@'s" + none},
		{"postgres://[::1]:2/db", "host='::1' port='2' dbname='db'" + none},
		{"postgres://[::1]", "host='::1' port='5432'" + none},
		{"postgres://a,b:2/db", "host='a,b' port='5432,2' target_session_attrs='primary' dbname='db'" + none},
		{"postgres://a,b/db?target_session_attrs=any", "host='a,b' port='5432,5432' dbname='db' target_session_attrs='any'" + none},
		{"postgres:///db?host=/run/postgresql&port=5433", "host='/run/postgresql' port='5433' dbname='db'" + none},
		{"postgres://h/a%27b%5Cc", `host='h' port='5432' dbname='a\'b\\c'` + none},
		{"postgres://h/?sslmode=verify-full&sslrootcert=r&sslcert=c&sslkey=k", "host='h' port='5432' sslcert='c' sslkey='k' sslmode='verify-full' sslrootcert='r'" + none},
		{"postgres://h?application_name=a&search_path=s&connect_timeout=3", "host='h' port='5432' application_name='a' connect_timeout='3' search_path='s'" + none},
		{"postgres://h?prefix=p&max_waiting=7&sequence=s.t&snapshot_age=1m&restart_grace=false", `host='h' port='5432' "p" 7 "s.t" 1m0s true`},
		{"postgres://h?restart_grace=true", "host='h' port='5432'" + none},
	} {
		got, err := parseURL(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
		} else if text := strings.TrimPrefix(got.summary(), " "); text != strings.TrimPrefix(c.want, " ") {
			t.Errorf("%s:\n got %s\nwant %s", c.url, text, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"postgres://h/a/b", "path"},
		{"postgres://h?host=/run", "host and port"},
		{"postgres://h?port=1", "host and port"},
		{"postgres://?host=h", "directory of a Unix socket"},
		{"postgres://?host=/a,/b", "one directory"},
		{"postgres://?host=/a&port=x", "port must be a number"},
		{"postgres://u%00@h", "zero byte"},
		{"postgres://h?prefix=%00", "zero byte"},
		{"postgres://h?max_waiting=0", "max_waiting"},
		{"postgres://h?max_waiting=x", "max_waiting"},
		{"postgres://h?snapshot_age=x", "snapshot_age"},
		{"postgres://h?snapshot_age=1ms", "less than a second"},
		{"postgres://h?restart_grace=x", "restart_grace"},
		{"postgres://h?sslmode=on", "sslmode must be one of disable, allow"},
		{"postgres://h?connect_timeout=5s", "connect_timeout must be a number of seconds"},
		{"postgres://h?target_session_attrs=master", "target_session_attrs must be one of any, "},
		{"postgres://h?sequence=", "sequence is empty"},
		{"postgres://h?sequence=a.b.c", "name or schema.name"},
		{"postgres://h?sequence=a.", "name or schema.name"},
		{"postgres://h?sequence=.a", "name or schema.name"},
	} {
		if _, err := parseURL(c.url); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.url, err, c.want)
		}
	}
}

// Neither what the driver's parser is given nor an error of it shows the password,
// whatever else is in the URL.
func FuzzParse(f *testing.F) {
	f.Add("u", "p", "db", "a,b:1", "prefix=x&sequence=s")
	f.Add("u'", "p\\", "d b", "[::1]", "host=/x&sslmode=require")
	f.Add("", "", "", "", "connect_timeout=x")
	f.Fuzz(func(t *testing.T, user, password, database, hosts, query string) {
		target, err := backend.ParseTarget("postgres://" + hosts + "?" + query)
		if err != nil {
			return
		}
		target.User, target.Password, target.Path = user, backend.Secret("p"+password), "/"+database
		urltest.Check(t, target, func(target backend.Target) string {
			out, err := parse(target)
			if err == nil {
				_, err = out.driverConfig()
			}
			return fmt.Sprintf("%q %v", out.connString(), err)
		})
	})
}

func TestDriverConfig(t *testing.T) {
	t.Setenv("PGHOST", "elsewhere")
	out, err := parseURL("postgres://u:se%40cret@h1:1,h2:2/d%20b?application_name=it%27s&search_path=a,b&sslmode=disable&connect_timeout=3")
	if err != nil {
		t.Fatal(err)
	}
	c, err := out.driverConfig()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c.Host, c.Port, c.User, c.Password, c.Database, c.ConnectTimeout, c.RuntimeParams, len(c.Fallbacks), c.Fallbacks[0].Host, c.Fallbacks[0].Port, c.ValidateConnect != nil)
	if want := fmt.Sprint("h1", 1, "u", "se@cret", "d b", 3*time.Second, map[string]string{"application_name": "it's", "search_path": "a,b"}, 1, "h2", 2, true); got != want {
		t.Errorf("the driver connects with\n%s, want\n%s", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(nil, nil); err == nil {
		t.Error("New without a pool succeeded")
	}
	for _, cfg := range []Config{{MaxWaiting: -1}, {Prefix: "a\x00"}, {Sequence: "a.b.c"}, {SnapshotAge: time.Millisecond}} {
		if _, err := newBackend(&cfg, nil); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}
