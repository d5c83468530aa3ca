// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"strings"
	"testing"
	"time"
)

// A lock's container is directly below the root, and none is another's or
// anything else, whatever the name.
func TestPathsApart(t *testing.T) {
	for _, root := range []string{"", "/app/locks"} {
		p := paths{root}
		seen := map[string]string{p.never(): "~never", "/zookeeper": "the servers'"}
		for _, name := range []string{"a", "a/b", "~never", "~", "..", ".", "/", "zookeeper", "~7Aookeeper", "a b", "a~20b"} {
			c := p.container(name)
			if strings.Count(c, "/") != strings.Count(root, "/")+1 || !strings.HasPrefix(c, root+"/") {
				t.Errorf("%q: container %q", name, c)
			}
			if other, taken := seen[c]; taken {
				t.Errorf("%q and %q have the container %q", name, other, c)
			}
			seen[c] = name
		}
	}
}

func TestSequenceOf(t *testing.T) {
	for node, want := range map[string]int64{
		"_c_0123456789abcdef0123456789abcdef-lock-0000000042":     42,
		"_c_0f6f1d6c-5b3b-4bb1-9d3c-0f6f1d6c5b3b-lock-0000000007": 7, // Curator
		"lock-2147483647":                      2147483647,
		"f1d6c5b3b4bb19d3c__lock__0000000001":  1, // kazoo
		"f1d6c5b3b4bb19d3c__rlock__0000000002": 2,
		"_c_0f6f1d6c-__WRIT__0000000003":       3, // Curator's read-write lock
		"lock-":                                -1,
		"":                                     -1,
		"0000000001":                           -1,
		"lock-000000001x":                      -1,
		"lock--000000001":                      -1,
		"leader-0000000001":                    -1,
		"lock-12345678901":                     -1,
		"config":                               -1,
	} {
		got, ok := sequenceOf(node)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", node, got, want)
		}
	}
}

// Nobody who lists the nodes learns an owner.
func TestGUIDHidesOwner(t *testing.T) {
	const owner = "KRSXG5CTMVRXEZLUORUGS4TUPE"
	guid := guidOf(owner)
	if len(guid) != 32 || strings.Contains(guid, owner) || guid == guidOf(owner+"x") || guid != guidOf(owner) {
		t.Errorf("GUID %q", guid)
	}
}

func TestCeilMillisecond(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		time.Second: time.Second, time.Second + 1: time.Second + time.Millisecond, 1500 * time.Microsecond: 2 * time.Millisecond,
	} {
		if got := ceilMillisecond(d); got != want {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
	}
}
