// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		url  string
		want backend.Target
	}{
		{"memory://", backend.Target{Scheme: "memory", Query: url.Values{}}},
		{"FILE:///var/lib/a%20b", backend.Target{Scheme: "file", Path: "/var/lib/a b", Query: url.Values{}}},
		{"redis://h?ttl=1m30s", backend.Target{Scheme: "redis", Hosts: []string{"h"}, TTL: 90 * time.Second, Query: url.Values{}}},
		{
			"etcd://u%40x:p%2Fw%3A%25@h1:2379,10.0.0.1,[::1]:2,[fe80::1]/a/b?x=1%26&y=",
			backend.Target{
				Scheme: "etcd", User: "u@x", Password: "p/w:%",
				Hosts: []string{"h1:2379", "10.0.0.1", "[::1]:2", "[fe80::1]"},
				Path:  "/a/b", Query: url.Values{"x": {"1&"}, "y": {""}},
			},
		},
		{"redis+unix:///run/redis.sock?db=2", backend.Target{Scheme: "redis+unix", Path: "/run/redis.sock", Query: url.Values{"db": {"2"}}}},
		{"consul://:token@h/p", backend.Target{Scheme: "consul", Password: "token", Hosts: []string{"h"}, Path: "/p", Query: url.Values{}}},
		{"redis://u:p@ss@h/0", backend.Target{Scheme: "redis", User: "u", Password: "p@ss", Hosts: []string{"h"}, Path: "/0", Query: url.Values{}}},
	} {
		got, err := backend.ParseTarget(tt.url)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseTarget(%q) = %#v, %v\nwant %#v", tt.url, got, err, tt.want)
		}
	}
}

const password = "s3cr3t"

func TestParseTargetRefuses(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"", "scheme"},
		{"/var/lib", "scheme"},
		{"redis:host", "scheme"},
		{"1x://h", "scheme"},
		{"redis://h#x", "%23"},
		{"file:///locks\n", "control character"}, // of a file that it was read from
		{"redis://u:" + password + "\t@h", "control character"},
		{"redis://h?prefix=a\x7f", "control character"},
		{"redis://h/0?prefix=a ", "space at its end"},
		{"redis://u:" + password + "#@h", "%23"},
		{"redis://u:" + password + "/x@h/0", "%2F"},
		{"redis://u:" + password + "%zz@h", "%25"},
		{"redis://u:" + password + "@h:port", "host 1 of 1"},
		{"redis://a,b:0,c", "host 2 of 3"},
		{"redis://a,b:65536", "host 2 of 2"},
		{"redis://a,,b", "host 2 of 3"},
		{"redis://::1", "host 1 of 1"},
		{"redis://[::1", "host 1 of 1"},
		{"redis://[1.2.3.4]:5", "host 1 of 1"},
		{"redis://[::1]x", "host 1 of 1"},
		{"redis://:80", "host 1 of 1"},
		{"redis://a b", "host 1 of 1"},
		{"redis://u:" + password + "/0", "host 1 of 1"}, // a password with a slash, the host forgotten
		{"redis://h/%zz", "path"},
		{"redis://h/a%00", "path"},
		{"redis://h?a=1&a=2", `"a" is given 2 times`},
		{"redis://h?b=1&b=2&a=1&a=2", `"a" is given 2 times`}, // the first by name, always
		{"redis://h?a=%zz", "parameters"},
		{"redis://u:6379?" + password + "@h/0", "%3F"},
		{"redis://u:6379?ttl=" + password + "@h/0", "%3F"},
		{"redis://h?ttl=30", "duration"},
		{"redis://h?ttl=-1s", "duration"},
		{"redis://h?ttl=", "duration"},
	} {
		_, err := backend.ParseTarget(tt.url)
		switch {
		case err == nil || !strings.Contains(err.Error(), tt.want):
			t.Errorf("ParseTarget(%q): error %v, want one that says %q", tt.url, err, tt.want)
		case strings.Contains(err.Error(), password):
			t.Errorf("ParseTarget(%q): the error shows the password: %v", tt.url, err)
		case strings.Contains(err.Error(), "\n"):
			t.Errorf("ParseTarget(%q): the error has more than one line: %v", tt.url, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	f.Add("redis://u:", "@h1:1,[::1]:2/p?ttl=3s&x=y")
	f.Add("redis://u:", "/0")
	f.Add("redis://u:", "@h?b=1&b=2&a=1&a=2")
	f.Add("file:///a%2Fb", "")
	f.Add("x://u:", "@/#?&;=%")
	f.Add("", ":// ")
	f.Fuzz(func(t *testing.T, before, after string) {
		s := before + password + after
		target, err := backend.ParseTarget(s)
		if err != nil {
			// A scheme, and what follows the ?, are no secret and quoted where
			// that helps. What else is said is the same with another password.
			_, other := backend.ParseTarget(before + strings.ToUpper(password) + after)
			_, rest, hasScheme := strings.Cut(before, "://")
			if hasScheme && !strings.Contains(rest, "?") && fmt.Sprint(err) != fmt.Sprint(other) {
				t.Errorf("%q: the error depends on the password: %v", s, err)
			}
			return
		}
		if !strings.EqualFold(target.Scheme, s[:strings.Index(s, "://")]) || target.TTL < 0 || target.Query.Has("ttl") {
			t.Errorf("%q: %#v", s, target)
		}
		for key, vs := range target.Query {
			if len(vs) != 1 {
				t.Errorf("%q: parameter %q has %d values", s, key, len(vs))
			}
		}
	})
}

func TestSecretDoesNotPrint(t *testing.T) {
	target := backend.Target{Scheme: "x", User: "u", Password: password}
	text, err := json.Marshal(target.Password)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "target", target, "password", target.Password)
	for _, s := range []string{
		fmt.Sprint(target), fmt.Sprintf("%+v %#v %q %x %s %v", target, target, target.Password, target.Password, target.Password, &target),
		string(text), log.String(), target.Password.String(),
	} {
		if strings.Contains(s, password) || strings.Contains(s, fmt.Sprintf("%x", password)) {
			t.Errorf("shows the password: %s", s)
		}
	}
	if target.Password.Reveal() != password {
		t.Error("Reveal does not give the secret")
	}
	if backend.Secret("").String() != "" {
		t.Error("no secret prints as if there were one")
	}
}
