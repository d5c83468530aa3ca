// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// The scripts that settle begin with settle.lua; renew and drop name one key.
func TestScripts(t *testing.T) {
	for name, s := range map[string]script{"lock": lockScript, "release": releaseScript} {
		if !strings.HasPrefix(s.text, settleLua) || strings.Count(s.text, "local function settle()") != 1 {
			t.Errorf("%s does not begin with settle.lua", name)
		}
	}
	for name, s := range map[string]script{"renew": renewScript, "drop": dropScript} {
		if strings.Contains(s.text, "KEYS[2]") {
			t.Errorf("%s names a second key: a cluster that moves the slot would refuse it", name)
		}
	}
	for _, s := range []script{lockScript, releaseScript, renewScript, dropScript, inspectScript} {
		if want := redis.NewScript(s.text).Hash(); s.sha != want {
			t.Errorf("hash %s, want %s", s.sha, want)
		}
	}
}

func TestCall(t *testing.T) {
	ctx := context.Background()
	c := newCall(ctx, renewScript, []string{"k1", "k2"}, "a", 7)
	if got, want := fmt.Sprint(c.Args()), "[evalsha "+renewScript.sha+" 2 k1 k2 a 7]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var cmd redis.Cmder = c
	if !cmd.NoRetry() {
		t.Error("go-redis would send it twice")
	}
	c.spellOut(ctx)
	if got, want := fmt.Sprint(c.Args()), "[eval "+renewLua+" 2 k1 k2 a 7]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCheckInfo(t *testing.T) {
	info := func(fields ...string) string {
		return "# Server\r\n" + strings.Join(fields, "\r\n") + "\r\n"
	}
	const (
		seven, six, four = "redis_version:7.0.15", "redis_version:6.2.1", "redis_version:4.0.0"
		endless          = "maxmemory:0"
		full             = "maxmemory:100"
		keeps            = "maxmemory_policy:noeviction"
		evicts           = "maxmemory_policy:allkeys-lru"
	)
	for _, c := range []struct {
		info           string
		cluster, allow bool
		want           string
	}{
		{info(seven, endless, keeps), false, false, ""},
		{info(seven, full, keeps), false, false, ""},
		{info(seven, endless, evicts), false, false, ""},
		{info(seven, full, evicts), false, false, "maxmemory-policy allkeys-lru"},
		{info(seven, full, evicts), false, true, ""},
		{info(seven), false, false, "does not tell whether it evicts"},
		{info(seven), false, true, ""},
		{info("redis_version:5.0.0", endless, keeps), false, false, ""},
		{info("redis_version:10.1.0", endless, keeps), false, false, ""},
		{info(four, endless, keeps), false, false, "4.0.0 is too old"},
		{info(four, endless, keeps), false, true, "4.0.0 is too old"},
		{info(endless, keeps), false, false, "does not tell its version"},
		{info(six, endless, keeps, "cluster_enabled:1"), true, false, "6.2.1 is too old: a cluster"},
		{info(seven, endless, keeps, "cluster_enabled:1"), true, false, ""},
		{info(seven, endless, keeps, "cluster_enabled:1"), false, false, "cluster=true"},
		{info(seven, endless, keeps, "cluster_enabled:0"), true, false, "not a node"},
		{info(seven, endless, keeps, "role:slave"), false, false, "replica"},
		{info(seven, endless, keeps, "role:master"), false, false, ""},
	} {
		err := checkInfo(c.info, c.cluster, c.allow)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q cluster=%v allow=%v: %v, want %q", c.info, c.cluster, c.allow, err, c.want)
		}
	}
}

func TestStateOf(t *testing.T) {
	if s := stateOf("locker:OWNER 1795525830203900 a note\nof two lines"); !s.Held || s.Token != 1795525830203900 ||
		s.Note != "a note\nof two lines" || s.Since.UnixMicro() != s.Token {
		t.Errorf("%+v", s)
	}
	for _, foreign := range []string{"", "x", "locker:x", "0123456789 5 note"} {
		if s := stateOf(foreign); !s.Held || s.Token != 0 || s.Note != "" || !s.Since.IsZero() {
			t.Errorf("%q: %+v", foreign, s)
		}
	}
}
