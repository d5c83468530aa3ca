// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/backend"
)

// A process may be killed while it writes: whatever is cut off, what came before
// the torn line is read.
func TestReadAfterEveryCut(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	r := NewRecorder(&file)
	want := []Event{
		{Time: 1, Op: 1, Client: "c1", Incarnation: 2, Key: "k", F: Lock, Type: Invoke, TTL: time.Second, Seed: 7},
		{Time: 2, Op: 1, Client: "c1", Key: "k", F: Lock, Type: OK, Token: 1 << 53, ValidUntil: Forever},
		{Time: 3, Op: 1, Client: "c1", Key: "k\n", F: Unlock, Type: Info, Class: Unavailable, Text: "no\nanswer"},
	}
	for i, e := range want {
		r.Record(e)
		want[i].Seq = int64(i + 1)
	}
	text := file.Bytes()
	for n := range len(text) + 1 {
		got, err := Read(bytes.NewReader(text[:n]))
		whole := bytes.Count(text[:n], []byte("\n"))
		if err != nil || !slices.Equal(got, want[:whole]) {
			t.Fatalf("of the first %d bytes: %+v, %v; want the first %d events", n, got, err, whole)
		}
	}
}

func TestReadRefusesGarbage(t *testing.T) {
	t.Parallel()
	if _, err := Read(strings.NewReader("{\"seq\":1}\ngarbage\n{\"seq\":2}\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want an error about line 2", err)
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	r := NewRecorder(&file)
	before := Now()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { r.Record(Event{F: Look}) })
	}
	all.Wait()
	events, err := Read(&file)
	if err != nil || len(events) != 20 || r.Err() != nil {
		t.Fatalf("%d events, %v, %v", len(events), err, r.Err())
	}
	for i, e := range events {
		if e.Seq != int64(i+1) || e.Time < before || e.Time > Now() {
			t.Errorf("event %d: %+v", i, e)
		}
	}
}

func TestRecorderTellsErrors(t *testing.T) {
	t.Parallel()
	r := NewRecorder(broken{})
	r.Record(Event{})
	if err := r.Err(); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestAt(t *testing.T) {
	t.Parallel()
	if got := At(time.Time{}); got != Forever {
		t.Errorf("no deadline is %v", got)
	}
	before := Now()
	got := At(backend.Now().Add(time.Hour))
	if got < before+time.Hour-2*time.Millisecond || got > Now()+time.Hour+2*time.Millisecond {
		t.Errorf("an hour from now is %v from now", got-before)
	}
}
