// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/urltest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var urls = []string{
	"file:///var/lib/locks",
	"file:///var/lib/locks/",
	"file:///var/lib/locks?ttl=10s",
	"FILE:///var/lib/locks",
	"file:////var//lib/./locks",
	"file:///var/../locks",
	"file:///..",
	"file:///with%20space/%C3%A4",
	"file:///with space",
	"file:///a%2Fb",
	"file:///a%00b",
	"file:///a%zz",
	"file://",
	"file:///",
	"file://var/lib/locks",
	"file://./locks",
	"file://localhost/locks",
	"file://user@/locks",
	"file://:secret@/locks",
	"file:locks",
	"file:/locks",
	"file:///locks#a",
}

func TestURLs(t *testing.T) {
	var got strings.Builder
	for _, u := range urls {
		fmt.Fprintf(&got, "%s\n\t%s\n", u, describe(u))
	}
	golden := filepath.Join("testdata", "urls.golden")
	if *update {
		must(t, os.WriteFile(golden, []byte(got.String()), 0o600))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got.String() != string(want) {
		t.Errorf("go test -update rewrites the table; got:\n%s", got.String())
	}
}

func describe(rawURL string) string {
	target, err := backend.ParseTarget(rawURL)
	if err != nil {
		return "parse: " + err.Error()
	}
	dir, err := directory(target)
	if err != nil {
		return "error: " + err.Error()
	}
	return filepath.ToSlash(dir)
}

func FuzzURL(f *testing.F) {
	for _, u := range urls {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, rawURL string) {
		target, err := backend.ParseTarget(rawURL)
		if err != nil {
			return
		}
		urltest.Check(t, target, func(target backend.Target) string {
			_, err := directory(target)
			return fmt.Sprint(err)
		})
		dir, err := directory(target)
		if err != nil {
			return
		}
		if !filepath.IsAbs(dir) || dir != filepath.Clean(dir) || len(target.Hosts) > 0 {
			t.Fatalf("%q gives %q", rawURL, dir)
		}
		if _, err := New(dir); err != nil {
			t.Fatalf("%q: %v", rawURL, err)
		}
	})
}

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b", "locks")
	target := backend.Target{Scheme: "file", Path: filepath.ToSlash(dir), TTL: time.Second}
	if !strings.HasPrefix(target.Path, "/") {
		target.Path = "/" + target.Path
	}
	b, err := backend.Open(t.Context(), target)
	must(t, err)
	defer b.Close()
	if got := b.(*Backend).dir; got != dir {
		t.Errorf("directory %q, want %q", got, dir)
	}
	lock(t, b.(*Backend), "a")

	target.Query = map[string][]string{"mode": {"1"}}
	if _, err := backend.Open(t.Context(), target); err == nil || !strings.Contains(err.Error(), `"mode"`) {
		t.Errorf("unknown parameter: %v", err)
	}

	target.Query = nil
	target.Path = filepath.ToSlash(b.(*Backend).Path("a"))
	_, err = backend.Open(t.Context(), target)
	wantSentence(t, err, target.Path)
	if errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v does not say what is wrong", err)
	}
}

func TestDefaultDir(t *testing.T) {
	home := t.TempDir()
	state := filepath.Join(home, "state")
	for _, test := range []struct{ state, home, want string }{
		{state, home, filepath.Join(state, "locker")},
		{state, "", filepath.Join(state, "locker")},
		{"", home, filepath.Join(home, ".local", "state", "locker")},
		{"relative/state", home, filepath.Join(home, ".local", "state", "locker")},
		{"relative/state", "", ""},
		{"", "relative/home", ""},
		{"", "", ""},
	} {
		t.Setenv("XDG_STATE_HOME", test.state)
		t.Setenv("HOME", test.home)
		t.Setenv("USERPROFILE", test.home)
		got, err := DefaultDir()
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("state %q, home %q: %q, %v, want %q", test.state, test.home, got, err, test.want)
		}
		if err != nil && !(strings.Contains(err.Error(), "$XDG_STATE_HOME") && strings.Contains(err.Error(), "$HOME")) {
			t.Errorf("%v does not say what to set", err)
		}
	}
}
