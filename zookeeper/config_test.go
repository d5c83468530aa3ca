// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

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
	text := fmt.Sprintf("%s user=%q password=%q chroot=%q tick=%v", strings.Join(s.Servers, ","), s.User, s.Password.Reveal(), s.Chroot, s.tickOrDefault())
	if s.tls != nil {
		text += fmt.Sprintf(" tls(%s %s %s %q)", s.files.CA, s.files.Cert, s.files.Key, s.tls.ServerName)
	}
	return text
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ url, want string }{
		{"zk://", `localhost:2181 user="" password="" chroot="" tick=2s`},
		{"zk://h", `h:2181 user="" password="" chroot="" tick=2s`},
		{"zk://h/", `h:2181 user="" password="" chroot="" tick=2s`},
		{"zk://h:1/app", `h:1 user="" password="" chroot="/app" tick=2s`},
		{"zk://h/app/locks/", `h:2181 user="" password="" chroot="/app/locks" tick=2s`},
		{"zk://h/a%20b%C3%A4", `h:2181 user="" password="" chroot="/a bä" tick=2s`},
		{"zk://b:2,a,[::1],[::2]:3", `[::1]:2181,[::2]:3,a:2181,b:2 user="" password="" chroot="" tick=2s`},
		{"zk://a,a:2181", `a:2181 user="" password="" chroot="" tick=2s`},
		{"zk://u:p%40:s@h", `h:2181 user="u" password="p@:s" chroot="" tick=2s`},
		{"zk://h?tick=500ms", `h:2181 user="" password="" chroot="" tick=500ms`},
		{"zks://h", `h:2181 user="" password="" chroot="" tick=2s tls(   "")`},
		{"zks://h?ca=a&cert=b&key=c&server_name=n&tick=1s", `h:2181 user="" password="" chroot="" tick=1s tls(a b c "n")`},

		{"zk://u@h", "a user and a password go together"},
		{"zk://:secret@h", "a user and a password go together"},
		{"zk://u%3Av:secret@h", "zookeeper: the user must not contain a colon"},
		{"zk://h/%FF", `zookeeper: the chroot "/\xff" must be empty or a path such as /app/locks`},
		{"zk://h//", `zookeeper: the chroot "//" must be empty or a path such as /app/locks`},
		{"zk://h//app", `zookeeper: the chroot "//app" must be empty or a path such as /app/locks`},
		{"zk://h/a/../b", `zookeeper: the chroot "/a/../b" must be empty or a path such as /app/locks`},
		{"zk://h/.", `zookeeper: the chroot "/." must be empty or a path such as /app/locks`},
		{"zk://h/a%C2%85", `zookeeper: the chroot "/a\u0085" must be empty or a path such as /app/locks`},
		{"zk://h?tick=2000", `parameter tick: "2000" is not a duration such as 2s`},
		{"zk://h?tick=0s", `parameter tick: "0s" is not a duration such as 2s`},
		{"zk://h?tick=1ms", "zookeeper: the tick must be 50ms to 1m0s, or 0 for 2s"},
		{"zk://h?tick=-1s", "zookeeper: the tick must be 50ms to 1m0s, or 0 for 2s"},
		{"zk://h?tick=2m", "zookeeper: the tick must be 50ms to 1m0s, or 0 for 2s"},
		{"zks://h?cert=b", "parameters cert and key go together"},
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
		"zk://u:hunter2hunter2@h:1,i/app?tick=1s", "zks://u:hunter2hunter2@[::1]?ca=a&server_name=n", "zk:////x", "zks://u:hunter2hunter2@h?cert=a", "zk://h/a/./b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		target, err := backend.ParseTarget(rawURL)
		if err != nil || target.Scheme != "zk" && target.Scheme != "zks" {
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
		if len(s.Servers) == 0 || s.Password != target.Password {
			t.Errorf("%s: %s", rawURL, s.summary())
		}
		if (s.tls != nil) != (target.Scheme == "zks") {
			t.Errorf("%s: TLS: %v", rawURL, s.tls != nil)
		}
		if strings.HasSuffix(s.Chroot, "/") || strings.Contains(s.Chroot, "//") || s.Chroot != "" && s.Chroot[0] != '/' {
			t.Errorf("%s: chroot %q", rawURL, s.Chroot)
		}
	})
}

// An error of New shows no password, and one Config prints none.
func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Servers: []string{"h"}, User: "u"},
		{Servers: []string{"h"}, Password: "hunter2hunter2"},
		{Servers: []string{"h"}, User: "a:b", Password: "hunter2hunter2"},
		{Servers: []string{"h"}, Chroot: "app", Password: "hunter2hunter2", User: "u"},
		{Servers: []string{"h"}, Tick: 1},
	} {
		_, err := New(cfg)
		if err == nil {
			t.Errorf("New accepts %+v", cfg)
			continue
		}
		if text := err.Error() + fmt.Sprintf("%+v", cfg); strings.Contains(text, "hunter2") {
			t.Errorf("it shows the password: %s", text)
		}
	}
	if b, err := New(Config{Servers: []string{"h"}, Chroot: "/"}); err != nil || b.paths.root != "" {
		t.Errorf("%v %v", b, err)
	}
}
