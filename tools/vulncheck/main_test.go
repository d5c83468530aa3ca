// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const messages = `
{"config": {"protocol_version": "v1.0.0"}}
{"osv": {"id": "GO-1", "summary": "a module panics"}}
{"osv": {"id": "GO-2", "summary": "crypto is slow"}}
{"osv": {"id": "GO-3", "summary": "imported only"}}
{"finding": {"osv": "GO-1", "trace": [{"module": "example.com/m", "version": "v1.0.0", "package": "example.com/m"}]}}
{"finding": {"osv": "GO-1", "fixed_version": "v1.0.1", "trace": [{"module": "example.com/m", "version": "v1.0.0", "package": "example.com/m", "function": "Parse"}]}}
{"finding": {"osv": "GO-2", "trace": [{"module": "stdlib", "version": "v1.26.0", "package": "crypto/x", "receiver": "*Conn", "function": "Do"}]}}
{"finding": {"osv": "GO-3", "trace": [{"module": "example.com/n", "version": "v1.0.0"}]}}
`

func TestParse(t *testing.T) {
	f, err := parse(strings.NewReader(messages))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(f.lines(f.modules), "\n")
	if want := "GO-1 example.com/m@v1.0.0 example.com/m.Parse (fixed in v1.0.1): a module panics"; got != want {
		t.Errorf("modules:\n got %s\nwant %s", got, want)
	}
	got = strings.Join(f.lines(f.std), "\n")
	if want := "GO-2 stdlib@v1.26.0 crypto/x.*Conn.Do (fixed in no version yet): crypto is slow"; got != want {
		t.Errorf("standard library:\n got %s\nwant %s", got, want)
	}
}

func TestParseRefusesWhatItCannotRead(t *testing.T) {
	if _, err := parse(strings.NewReader(`{"finding": `)); err == nil {
		t.Error("a cut-off output passed as a clean one")
	}
}
