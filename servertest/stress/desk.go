// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/golocker/locker/servertest/history"
)

// A question is what a client asks the desk, over a socket that no fault
// touches: for its next plan, or to read or write the registers of a lock.
type question struct {
	Do     string `json:"do"` // next, read, write
	Client string `json:"client"`
	Op     int64  `json:"op,omitempty"`
	Key    string `json:"key,omitempty"`
	Token  int64  `json:"token,omitempty"`
	Fenced string `json:"fenced,omitempty"` // write: the value that was read from each register
	Plain  string `json:"plain,omitempty"`
	Value  string `json:"value,omitempty"`
}

// An answer is the desk's.
type answer struct {
	Plan    *Plan  `json:"plan,omitempty"`
	Fenced  string `json:"fenced,omitempty"`
	Plain   string `json:"plain,omitempty"`
	Refused bool   `json:"refused,omitempty"`
}

// A desk hands out plans, and keeps two registers for each lock: the resource
// that the lock protects. One checks tokens, when it is read as well as when it
// is written: an update computed from a value that was read before a newer holder
// came must not pass, even if that holder has not written yet. Its twin checks
// nothing.
type desk struct {
	socket  net.Listener
	next    func(client string) Plan
	reading func(client string) // called before a read is answered
	record  func(history.Event)
	running sync.WaitGroup

	mu        sync.Mutex
	registers map[string]*registers
	conns     map[net.Conn]bool
}

type registers struct {
	fenced, plain string
	token         int64 // the largest one that was shown
}

func openDesk(path string, record func(history.Event), next func(string) Plan, reading func(string)) (*desk, error) {
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	d := &desk{socket: socket, next: next, reading: reading, record: record, registers: map[string]*registers{}, conns: map[net.Conn]bool{}}
	d.running.Go(d.accept)
	return d, nil
}

func (d *desk) accept() {
	for {
		conn, err := d.socket.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.conns[conn] = true
		d.mu.Unlock()
		d.running.Go(func() { d.serve(conn) })
	}
}

// close ends all connections and waits until nothing runs.
func (d *desk) close() {
	_ = d.socket.Close()
	d.mu.Lock()
	for conn := range d.conns {
		_ = conn.Close()
	}
	d.mu.Unlock()
	d.running.Wait()
}

func (d *desk) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		d.mu.Lock()
		delete(d.conns, conn)
		d.mu.Unlock()
	}()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var q question
		if in.Decode(&q) != nil || out.Encode(d.answer(q)) != nil {
			return
		}
	}
}

func (d *desk) answer(q question) answer {
	switch q.Do {
	case "read":
		a := d.read(q)
		d.reading(q.Client)
		return a
	case "write":
		return d.write(q)
	}
	p := d.next(q.Client)
	return answer{Plan: &p}
}

func (d *desk) read(q question) answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.of(q.Key)
	a := answer{Fenced: r.fenced, Plain: r.plain, Refused: q.Token < r.token}
	r.token = max(r.token, q.Token)
	return a
}

func (d *desk) write(q question) answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.of(q.Key)
	e := history.Event{
		Op: q.Op, Client: q.Client, Key: q.Key, Token: q.Token, Value: q.Value,
		F: history.PlainWrite, Type: history.OK, Prev: q.Plain, Time: history.Now(),
	}
	r.plain = q.Value
	d.record(e)
	a := answer{Refused: q.Token < r.token}
	e.F, e.Prev, e.Time = history.Write, q.Fenced, e.Time+time.Nanosecond
	if a.Refused {
		e.Type = history.Fail
	} else {
		r.fenced, r.token = q.Value, q.Token
	}
	d.record(e)
	return a
}

// of is called with mu held.
func (d *desk) of(key string) *registers {
	r := d.registers[key]
	if r == nil {
		r = &registers{}
		d.registers[key] = r
	}
	return r
}
