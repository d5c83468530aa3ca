// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"
	"testing"
	"time"
)

// Keys are part of the protocol between processes: they never change.
func TestKeys(t *testing.T) {
	for _, c := range []struct {
		prefix, name string
		want         int64
	}{
		{"", "a", 564076951699240311},
		{"a", "", 789356114426368341},
		{"", "ä/b", -4726234468093127614},
	} {
		if got := Key(c.prefix, c.name); got != c.want {
			t.Errorf("Key(%q, %q) = %d, want %d", c.prefix, c.name, got, c.want)
		}
	}
	if Key("a", "b") == Key("ab", "") || Key("", "ab") == Key("a", "b") {
		t.Error("prefix and name run into one another")
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]int{"14": 14, "15.18 (Debian 15.18-1)": 15, "17beta1": 17} {
		if got, err := versionOf(text); got != want || err != nil {
			t.Errorf("versionOf(%q) = %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"13.9", "9.6.24", "", "x"} {
		if _, err := versionOf(text); err == nil {
			t.Errorf("version %q is accepted", text)
		}
	}
}

func TestHazard_P2_ValuesThatDoNotStick(t *testing.T) {
	set := settings(3*time.Second, 17)
	kept := func() (rows [][]string) {
		for _, s := range set {
			if s.checked {
				rows = append(rows, []string{s.name, s.value})
			}
		}
		return rows
	}
	id := identity{pid: "7"}
	if err := checkSession(id, 7, set, kept()); err != nil {
		t.Fatal(err)
	}
	if err := checkSession(id, 8, set, kept()); err == nil || !strings.Contains(err.Error(), "pooler") {
		t.Errorf("another pid: %v", err)
	}
	if err := checkSession(identity{pid: "7", standby: true}, 7, set, kept()); err == nil || !strings.Contains(err.Error(), "standby") {
		t.Errorf("a standby: %v", err)
	}
	for i, row := range kept() {
		for _, value := range []string{"12345", ""} {
			rows := kept()
			rows[i] = []string{row[0], value}
			if err := checkSession(id, 7, set, rows); err == nil || !strings.Contains(err.Error(), row[0]) {
				t.Errorf("%s = %q: %v", row[0], value, err)
			}
		}
		if err := checkSession(id, 7, set, append(kept()[:i], kept()[i+1:]...)); err == nil {
			t.Errorf("without %s: no error", row[0])
		}
	}
}

func TestHazard_P3_SequencesThatRepeat(t *testing.T) {
	good := []string{"public.locker_token", "p", "t", "1", "f", "1", "17", "1"}
	if s, err := sequenceOf("locker_token", [][]string{good}); err != nil || s.start != 17 || s.name != good[0] {
		t.Fatal(s, err)
	}
	for i, bad := range map[int]string{1: "u", 2: "f", 3: "-1", 4: "t", 5: "20", 7: "2"} {
		row := append([]string(nil), good...)
		row[i] = bad
		if _, err := sequenceOf("locker_token", [][]string{row}); err == nil {
			t.Errorf("a sequence with %q in column %d is accepted", bad, i)
		}
	}
	row := append([]string(nil), good...)
	row[7] = "2"
	if _, err := sequenceOf("public.locker_token", [][]string{row}); err != nil {
		t.Errorf("a sequence that is named with its schema: %v", err)
	}
	if _, err := sequenceOf("locker_token", nil); err == nil {
		t.Error("no sequence is accepted")
	}
}

func TestLiterals(t *testing.T) {
	for text, want := range map[string]string{"a": "'a'", "it's": "'it''s'", `a\b`: ` E'a\\b'`} {
		if got := literal(text); got != want {
			t.Errorf("literal(%q) = %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"a": `"a"`, `a"b`: `"a""b"`, "s.a": `"s"."a"`} {
		if got := quoted(text); got != want {
			t.Errorf("quoted(%q) = %s, want %s", text, got, want)
		}
	}
}
