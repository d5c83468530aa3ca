// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

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
	text := fmt.Sprintf("%s prefix=%q token=%q", s.address, s.Prefix, s.Token.Reveal())
	for name, value := range map[string]string{"dc": s.Datacenter, "namespace": s.Namespace, "partition": s.Partition} {
		if value != "" {
			text += fmt.Sprintf(" %s=%s", name, value)
		}
	}
	if s.MaxWaiting != 0 {
		text += fmt.Sprintf(" max_waiting=%d", s.MaxWaiting)
	}
	if s.unix {
		text += " unix"
	}
	if s.tls != nil {
		text += fmt.Sprintf(" tls(%s %s %s %q)", s.files.CA, s.files.Cert, s.files.Key, s.tls.ServerName)
	}
	return text
}

func TestParse(t *testing.T) {
	const prefixError = "consul: the prefix must not begin with a slash, nor have an empty part, . or .. between its slashes: Consul would take it for another"
	for _, c := range []struct{ url, want string }{
		{"consul://", `localhost:8500 prefix="" token=""`},
		{"consul://h", `h:8500 prefix="" token=""`},
		{"consul://h/", `h:8500 prefix="" token=""`},
		{"consul://h:1/app", `h:1 prefix="app/" token=""`},
		{"consul://h/app/locks/", `h:8500 prefix="app/locks/" token=""`},
		{"consul://h/a%20b%C3%A4", `h:8500 prefix="a bä/" token=""`},
		{"consul://[::1]/", `[::1]:8500 prefix="" token=""`},
		{"consul://[::1]:2", `[::1]:2 prefix="" token=""`},
		{"consul://:t%40:s@h", `h:8500 prefix="" token="t@:s"`},
		{"consul://h?dc=d", `h:8500 prefix="" token="" dc=d`},
		{"consul://h?namespace=n", `h:8500 prefix="" token="" namespace=n`},
		{"consul://h?partition=p", `h:8500 prefix="" token="" partition=p`},
		{"consul://h?max_waiting=5", `h:8500 prefix="" token="" max_waiting=5`},
		{"consuls://h", `h:8501 prefix="" token="" tls(   "")`},
		{"consuls://h?ca=a&cert=b&key=c&server_name=n", `h:8501 prefix="" token="" tls(a b c "n")`},
		{"consul+unix:///run/c.sock", `/run/c.sock prefix="" token="" unix`},
		{"consul+unix://:t@/run/c.sock?prefix=app", `/run/c.sock prefix="app/" token="t" unix`},

		{"consul://u@h", "a user: there are only tokens, as in consul://:token@host"},
		{"consul://u:secret@h", "a user: there are only tokens, as in consul://:token@host"},
		{"consul://a,b", "one host: that of the agent, which knows the servers"},
		{"consul://h//app", prefixError},
		{"consul://h/a//b", prefixError},
		{"consul://h/a/../b", prefixError},
		{"consul://h/.", prefixError},
		{"consul://h/%FF", "consul: the prefix must be printable UTF-8"},
		{"consul://h/a%0A", "consul: the prefix must be printable UTF-8"},
		{"consul://h?max_waiting=0", "parameter max_waiting must be a positive number"},
		{"consul://h?max_waiting=x", "parameter max_waiting must be a positive number"},
		{"consuls://h?cert=b", "parameters cert and key go together"},
		{"consul+unix://h/run/c.sock", "the path of a socket must follow, as in consul+unix:///run/consul/http.sock"},
		{"consul+unix://", "the path of a socket must follow, as in consul+unix:///run/consul/http.sock"},
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

func TestConfigCheck(t *testing.T) {
	for _, cfg := range []Config{{MaxWaiting: -1}, {Prefix: "/a"}, {Prefix: "a/../"}, {Prefix: "a\x00"}} {
		if err := cfg.check(); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
	if n := (&Config{}).maxWaiting(); n != DefaultMaxWaiting {
		t.Errorf("MaxWaiting is %d", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"consul://:hunter2hunter2@h:1/app?dc=d", "consuls://:hunter2hunter2@[::1]?ca=a&server_name=n",
		"consul+unix://:hunter2hunter2@/run/c.sock?prefix=a&max_waiting=2", "consul:////x", "consuls://:hunter2hunter2@h?cert=a", "consul://u:hunter2hunter2@h/..",
		"consul://:h@h",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		target, err := backend.ParseTarget(rawURL)
		if err != nil || !strings.HasPrefix(target.Scheme, "consul") {
			return
		}
		urltest.Check(t, target, func(target backend.Target) string {
			s, err := parse(target)
			s.tls = nil // it prints its address
			return fmt.Sprintf("%v %q", err, fmt.Sprintf("%v %+v %#v", s, s, s.Token))
		})
		s, err := parse(target)
		if err != nil {
			return
		}
		if s.address == "" || s.Token.Reveal() != target.Password.Reveal() {
			t.Errorf("%s: %s", rawURL, s.summary())
		}
		if s.Prefix != "" && !strings.HasSuffix(s.Prefix, "/") {
			t.Errorf("%s: prefix %q", rawURL, s.Prefix)
		}
		if strings.Contains("/"+s.Prefix, "//") || strings.Contains("/"+s.Prefix, "/../") {
			t.Errorf("%s: prefix %q is not as it is stored", rawURL, s.Prefix)
		}
	})
}
