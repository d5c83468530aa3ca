// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func grantOf(token int64) grantRecord {
	return grantRecord{Token: token, Since: time.Unix(1795534740, token%1000).UTC(), Name: "a\n<b>", Note: strings.Repeat("n", int(token%100))}
}

func TestRecordRoundTrip(t *testing.T) {
	var r record
	for _, token := range []int64{1, 1795534740123456, 1795534740123457, 1795534740123458, math.MaxInt64} {
		r = r.next(grantOf(token))
		got, err := parse(r.bytes())
		if err != nil || !reflect.DeepEqual(got, r) || got.last() != token {
			t.Fatalf("parse = %+v, %v, want %+v", got, err, r)
		}
	}
}

// After a torn write the tokens may be newer than what is told to people.
func TestGrantOfAnotherToken(t *testing.T) {
	old := record{}.next(grantOf(1795534740123456))
	next := old.next(grantOf(1795534740123999))
	torn := append(next.bytes()[:headerSize:headerSize], old.bytes()[headerSize:]...)
	got, err := parse(torn)
	if err != nil || got.last() != next.last() || got.grant != (grantRecord{}) {
		t.Errorf("parse = %+v, %v, want token %d and no grant", got, err, next.last())
	}
}

// Whatever part of a write reaches the disk, the file gives the old token or
// the new one.
func TestTornWriteKeepsTheOldOrGivesTheNewToken(t *testing.T) {
	for _, tokens := range [][]int64{{}, {1795534740123456}, {1795534740123456, 1795534740123999}} {
		var old record
		content := []byte{}
		for _, token := range tokens {
			old = old.next(grantOf(token))
			content = old.bytes()
		}
		next := old.next(grantOf(1795534799999998))
		for cut := range len(next.bytes()) + 1 {
			zeros := append(bytes.Clone(next.bytes()[:cut]), make([]byte, len(next.bytes())-cut)...)
			for how, torn := range map[string][]byte{
				"the first bytes":            overlay(content, next.bytes()[:cut], 0),
				"the last bytes":             overlay(content, next.bytes()[cut:], cut),
				"the first bytes, then zero": zeros,
			} {
				if len(content) > 0 && how == "the first bytes, then zero" {
					continue // nothing writes zeros over what stands there
				}
				got, err := parse(torn)
				if err != nil {
					if len(content) == 0 && how == "the last bytes" {
						continue // refused, which is safe; the header lies in one sector of the disk
					}
					t.Fatalf("after %d tokens, %s at %d reached the disk: %v", len(tokens), how, cut, err)
				}
				if last := got.last(); last != old.last() && last != next.last() {
					t.Fatalf("after %d tokens, %s at %d reached the disk: token %d, want %d or %d", len(tokens), how, cut, last, old.last(), next.last())
				}
			}
		}
	}
}

func overlay(old, part []byte, at int) []byte {
	out := make([]byte, max(len(old), at+len(part)))
	copy(out, old)
	copy(out[at:], part)
	return out
}

// Content that we can't have left is refused: guessing a token might give a
// smaller one. It never breaks the exclusion.
func TestForeignContent(t *testing.T) {
	r := record{}.next(grantOf(1795534740123456)).next(grantOf(1795534740123457))
	damaged := bytes.ReplaceAll(r.bytes(), []byte("token 0"), []byte("token 1"))
	for name, content := range map[string][]byte{
		"text":          []byte("hello\n"),
		"long text":     bytes.Repeat([]byte("hello\n"), 20000),
		"binary":        {0x7f, 'E', 'L', 'F', 0, 0, 0},
		"damaged":       damaged,
		"other version": bytes.Replace(r.bytes(), []byte("v1"), []byte("v2"), 1),
		"shifted":       append([]byte("\n"), r.bytes()...),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, t.TempDir())
			g := lock(t, b, "a")
			must(t, os.WriteFile(b.Path("a"), content, 0o600))
			wantLocked(t, b, "a")
			unlock1(t, b, g)

			_, err := b.Lock(t.Context(), request("a"))
			if !errors.Is(err, errForeign) {
				t.Fatalf("Lock = %v, want a refusal", err)
			}
			wantSentence(t, err, b.Path("a"))
			if now, _ := os.ReadFile(b.Path("a")); !bytes.Equal(now, content) {
				t.Error("the refused content was changed")
			}
			must(t, os.Remove(b.Path("a")))
			if next := lock(t, b, "a"); next.Token <= g.Token {
				t.Errorf("token %d after %d", next.Token, g.Token)
			}
		})
	}
}

// A file that was cut at any length, or left as zeros, gives a larger token
// still.
func TestTruncatedFile(t *testing.T) {
	b := newBackend(t, t.TempDir())
	unlock1(t, b, lock(t, b, "a"))
	unlock1(t, b, lock(t, b, "a"))
	content, err := os.ReadFile(b.Path("a"))
	must(t, err)
	last := lock(t, b, "a")
	unlock1(t, b, last)
	left := [][]byte{make([]byte, 4096)}
	for cut := 0; cut < len(content); cut += 7 {
		left = append(left, content[:cut])
	}
	for _, data := range left {
		must(t, os.WriteFile(b.Path("a"), data, 0o600))
		g, err := b.Lock(t.Context(), request("a"))
		if err != nil {
			t.Fatalf("of %d bytes: %v", len(data), err)
		}
		if g.Token <= last.Token {
			t.Fatalf("of %d bytes: token %d after %d", len(data), g.Token, last.Token)
		}
		last = g
		unlock1(t, b, g)
	}
}

// The clock was set back by a century; the token still grows.
func TestTokenOutlivesTheClock(t *testing.T) {
	b := newBackend(t, t.TempDir())
	future := time.Now().AddDate(100, 0, 0).UnixMicro()
	must(t, os.WriteFile(b.Path("a"), record{}.next(grantOf(future)).bytes(), 0o600))
	for i := range int64(3) {
		g := lock(t, b, "a")
		if g.Token != future+1+i {
			t.Errorf("token %d, want %d", g.Token, future+1+i)
		}
		unlock1(t, b, g)
	}

	must(t, os.WriteFile(b.Path("a"), record{}.next(grantOf(math.MaxInt64)).bytes(), 0o600))
	_, err := b.Lock(t.Context(), request("a"))
	wantSentence(t, err, b.Path("a"))
}

// A shorter grant after a longer one leaves nothing of it behind.
func TestContentShrinks(t *testing.T) {
	b := newBackend(t, t.TempDir())
	req := request("a")
	req.Note = strings.Repeat("n", 1024)
	g, err := b.Lock(t.Context(), req)
	must(t, err)
	unlock1(t, b, g)
	lock(t, b, "a")
	content, err := os.ReadFile(b.Path("a"))
	must(t, err)
	if bytes.Contains(content, []byte("nnn")) || bytes.Count(content, []byte("\n")) != 4 {
		t.Errorf("content:\n%s", content)
	}
}

func FuzzParse(f *testing.F) {
	r := record{}.next(grantOf(1795534740123456)).next(grantOf(1795534740123457))
	f.Add(r.bytes())
	f.Add(r.bytes()[:60])
	f.Add([]byte{})
	f.Add([]byte(magic))
	f.Add(make([]byte, 200))
	f.Add([]byte("grant {} 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(data)
		if err != nil {
			return
		}
		if r.last() < 0 || r.grant.Token != 0 && r.grant.Token != r.last() {
			t.Fatalf("parse = %+v", r)
		}
		if r.last() == math.MaxInt64 {
			return
		}
		next := r.next(grantRecord{Token: r.last() + 1, Name: "a"})
		got, err := parse(overlay(data, next.bytes(), 0))
		if err != nil || got.last() != r.last()+1 {
			t.Fatalf("after a grant: %+v, %v, want token %d", got, err, r.last()+1)
		}
	})
}
