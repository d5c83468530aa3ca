// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"encoding/json"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/golocker/locker/servertest/history"
)

// A caller asks a desk, and keeps what the desk records.
type caller struct {
	t      *testing.T
	mu     sync.Mutex
	events []history.Event
	read   []string
	in     *json.Decoder
	out    *json.Encoder
}

func callDesk(t *testing.T) *caller {
	t.Helper()
	c := &caller{t: t}
	path := filepath.Join(t.TempDir(), "desk")
	record := func(e history.Event) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.events = append(c.events, e)
	}
	d, err := openDesk(path, record, func(client string) Plan { return Plan{Key: client} }, func(client string) { c.read = append(c.read, client) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c.in, c.out = json.NewDecoder(conn), json.NewEncoder(conn)
	return c
}

func (c *caller) ask(q question) (a answer) {
	c.t.Helper()
	q.Client, q.Key = "c1", "k"
	if err := c.out.Encode(q); err != nil {
		c.t.Fatal(err)
	}
	if err := c.in.Decode(&a); err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *caller) updates(op, token int64, value string) (a answer) {
	c.t.Helper()
	a = c.ask(question{Do: "read", Token: token})
	return c.ask(question{Do: "write", Op: op, Token: token, Fenced: a.Fenced, Plain: a.Plain, Value: value})
}

// lost judges what the desk has recorded.
func (c *caller) lost() (fenced, plain int) {
	h := history.New(c.events)
	return len(history.Register(h, history.Promise{})), len(history.PlainLosses(h))
}

func TestDeskPlans(t *testing.T) {
	t.Parallel()
	if p := callDesk(t).ask(question{Do: "next"}).Plan; p == nil || p.Key != "c1" {
		t.Errorf("got %+v", p)
	}
}

func TestRegistersInOrder(t *testing.T) {
	t.Parallel()
	c := callDesk(t)
	for i := range int64(3) {
		if a := c.updates(i, i+1, string(rune('a'+i))); a.Refused {
			t.Errorf("update %d was refused", i)
		}
	}
	if a := c.ask(question{Do: "read", Token: 4}); a.Fenced != "c" || a.Plain != "c" {
		t.Errorf("they hold %+v", a)
	}
	if fenced, plain := c.lost(); fenced != 0 || plain != 0 {
		t.Errorf("lost %d and %d updates", fenced, plain)
	}
	if len(c.read) != 4 {
		t.Errorf("told of %d reads", len(c.read))
	}
}

// A holder that was paused between its read and its write meets a newer one: one
// that has written, and one that has only read.
func TestRegistersRefuseTheOld(t *testing.T) {
	t.Parallel()
	for name, newer := range map[string]func(c *caller){
		"after a write": func(c *caller) { c.updates(2, 2, "new") },
		"after a read":  func(c *caller) { c.ask(question{Do: "read", Token: 2}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := callDesk(t)
			old := c.ask(question{Do: "read", Token: 1})
			newer(c)
			a := c.ask(question{Do: "write", Op: 1, Token: 1, Fenced: old.Fenced, Plain: old.Plain, Value: "old"})
			if !a.Refused {
				t.Error("the register that checks tokens took the write of an old holder")
			}
			if fenced, _ := c.lost(); fenced != 0 {
				t.Error("it lost an update")
			}
			if a := c.ask(question{Do: "read", Token: 1}); !a.Refused || a.Plain != "old" {
				t.Errorf("then the old holder reads %+v", a)
			}
		})
	}
}

// The twin loses the update, and the checker sees it.
func TestPlainRegisterLoses(t *testing.T) {
	t.Parallel()
	c := callDesk(t)
	old := c.ask(question{Do: "read", Token: 1})
	c.updates(2, 2, "new")
	c.ask(question{Do: "write", Op: 1, Token: 1, Fenced: old.Fenced, Plain: old.Plain, Value: "old"})
	if fenced, plain := c.lost(); fenced != 0 || plain != 1 {
		t.Errorf("lost %d and %d updates, want 0 and 1", fenced, plain)
	}
}
