// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeDocker puts a docker command into PATH, and nothing else. It has the
// given images and can pull the given ones; what it was told is returned.
func fakeDocker(t *testing.T, have, pullable string) (told func() string) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	script := `#!/bin/sh
echo "$@" >>` + log + `
has() { case " $1 " in *" $2 "*) return 0;; esac; return 1; }
case "$1 $2" in
"version "*) echo 20;;
"image inspect") has "` + have + `" "$3";;
"pull "*) has "` + pullable + `" "$2" && echo pulling;;
*) exit 1;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv("LOCKER_IMAGES", "")
	t.Setenv("LOCKER_IMAGE_REDIS", "")
	silent.Clear()
	return func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

func localRedis(t *testing.T) string {
	t.Helper()
	r, err := recipeOf("redis")
	if err != nil {
		t.Fatal(err)
	}
	tag, err := r.tag()
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func TestFindOrder(t *testing.T) {
	local := localRedis(t)
	for name, test := range map[string]struct {
		have, pullable string
		env            map[string]string
		want           string // "" for an error
		pulls          bool
	}{
		"environment first":      {have: local, env: map[string]string{"LOCKER_IMAGE_REDIS": "mine"}, want: "mine"},
		"local before official":  {have: local + " redis:7", want: local},
		"official that is here":  {have: "redis:7", want: "redis:7"},
		"official that is there": {pullable: "redis:7", want: "redis:7", pulls: true},
		"local only":             {have: "redis:7", pullable: "redis:7", env: map[string]string{"LOCKER_IMAGES": "local"}},
		"nothing":                {pulls: true},
	} {
		t.Run(name, func(t *testing.T) {
			told := fakeDocker(t, test.have, test.pullable)
			for key, value := range test.env {
				t.Setenv(key, value)
			}
			got, err := Find(t.Context(), "redis")
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("found %q, %v; want %q", got, err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), "go run ./cmd/images redis") {
				t.Errorf("%q does not say what to do", err)
			}
			if pulled := strings.Contains(told(), "pull redis:7"); pulled != test.pulls {
				t.Errorf("pulled: %t, want %t", pulled, test.pulls)
			}
		})
	}
}

func TestSilentRegistryIsAskedOnce(t *testing.T) {
	told := fakeDocker(t, "", "")
	for _, server := range []string{"redis", "postgres", "etcd"} {
		if _, err := Find(t.Context(), server); err == nil {
			t.Errorf("found %s", server)
		}
	}
	if pulls := strings.Count(told(), "pull "); pulls != 2 { // etcd's is another registry
		t.Errorf("%d pulls, want 2:\n%s", pulls, told())
	}
}

func TestWithoutDocker(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("LOCKER_IMAGE_REDIS", "")
	if _, err := Find(t.Context(), "redis"); err == nil || !strings.Contains(err.Error(), "no Docker") {
		t.Errorf("got %v", err)
	}
}

func TestEnsureNamesWhatIsMissing(t *testing.T) {
	fakeDocker(t, "", "")
	var log bytes.Buffer
	_, err := Ensure(t.Context(), &log, "redis")
	if err == nil || !strings.Contains(err.Error(), "apt-get install mmdebstrap") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(log.String(), "building "+localRedis(t)) {
		t.Errorf("said %q", log.String())
	}
}

func TestNeedSpace(t *testing.T) {
	if err := needSpace(t.TempDir(), 1<<40); err == nil || !strings.Contains(err.Error(), "GiB left") {
		t.Errorf("got %v for an absurd demand", err)
	}
	if err := needSpace("/not/there", 1<<40); err != nil {
		t.Errorf("got %v for a folder that is elsewhere", err)
	}
}

func TestUnknownServer(t *testing.T) {
	if _, err := Find(t.Context(), "mysql"); err == nil || !strings.Contains(err.Error(), "zookeeper") {
		t.Errorf("got %v, want the known ones named", err)
	}
}

func TestRegistryOf(t *testing.T) {
	for ref, want := range map[string]string{"redis:7": "", "hashicorp/consul:1": "", "host.example/etcd:1": "host.example", "local:5000/x": "local:5000"} {
		if got := registryOf(ref); got != want {
			t.Errorf("registry of %s: %q, want %q", ref, got, want)
		}
	}
}
