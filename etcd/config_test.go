// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

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
	text := fmt.Sprintf("%s user=%q password=%q prefix=%q", strings.Join(s.client.Endpoints, ","), s.client.Username, s.client.Password, s.Prefix)
	if s.client.TLS != nil {
		text += fmt.Sprintf(" tls(%s %s %s %q)", s.files.CA, s.files.Cert, s.files.Key, s.client.TLS.ServerName)
	}
	return text
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"etcd://", `http://localhost:2379 user="" password="" prefix=""`},
		{"etcd://h", `http://h:2379 user="" password="" prefix=""`},
		{"etcd://h/", `http://h:2379 user="" password="" prefix=""`},
		{"etcd://h:1/app", `http://h:1 user="" password="" prefix="app/"`},
		{"etcd://h/app/", `http://h:2379 user="" password="" prefix="app/"`},
		{"etcd://h//app/locks", `http://h:2379 user="" password="" prefix="/app/locks/"`},
		{"etcd://h/a%20b%C3%A4", `http://h:2379 user="" password="" prefix="a bä/"`},
		{"etcd://b:2,a,[::1],[::2]:3", `http://[::1]:2379,http://[::2]:3,http://a:2379,http://b:2 user="" password="" prefix=""`},
		{"etcd://a,a:2379", `http://a:2379 user="" password="" prefix=""`},
		{"etcd://u:p%40:s@h", `http://h:2379 user="u" password="p@:s" prefix=""`},
		{"etcds://h", `https://h:2379 user="" password="" prefix="" tls(   "")`},
		{"etcds://h?ca=a&cert=b&key=c&server_name=n", `https://h:2379 user="" password="" prefix="" tls(a b c "n")`},

		{"etcd://u@h", "a user and a password go together"},
		{"etcd://:secret@h", "a user and a password go together"},
		{"etcd://h/%FF", "etcd: the prefix must be valid UTF-8"},
		{"etcds://h?cert=b", "parameters cert and key go together"},
		{"etcds://h?key=b", "parameters cert and key go together"},
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

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"etcd://u:hunter2hunter2@h:1,i/app", "etcds://u:hunter2hunter2@[::1]?ca=a&server_name=n", "etcd:////x", "etcds://u:hunter2hunter2@h?cert=a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		target, err := backend.ParseTarget(rawURL)
		if err != nil || target.Scheme != "etcd" && target.Scheme != "etcds" {
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
		if len(s.client.Endpoints) == 0 || s.client.Password != target.Password.Reveal() {
			t.Errorf("%s: %s", rawURL, s.summary())
		}
		if (s.client.TLS != nil) != (target.Scheme == "etcds") {
			t.Errorf("%s: TLS: %v", rawURL, s.client.TLS != nil)
		}
		if s.Prefix != "" && !strings.HasSuffix(s.Prefix, "/") {
			t.Errorf("%s: prefix %q", rawURL, s.Prefix)
		}
	})
}
