// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// A Recorder appends events to a file or a pipe, each with a write of its own.
// It is safe for concurrent use.
type Recorder struct {
	mu  sync.Mutex
	out io.Writer
	seq int64
	err error
}

// NewRecorder returns a Recorder that writes to out.
func NewRecorder(out io.Writer) *Recorder { return &Recorder{out: out} }

// Record gives an event its Seq, and its Time if it has none, and writes it.
func (r *Recorder) Record(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	e.Seq = r.seq
	if e.Time == 0 {
		e.Time = Now()
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = r.out.Write(append(line, '\n'))
	}
	if r.err == nil {
		r.err = err
	}
}

// Err is the first error of writing.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Read returns the events of a recorder's file. What follows the last newline
// was torn by the end of its process, and is left out.
func Read(in io.Reader) ([]Event, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return nil, err
	}
	var events []Event
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	for line := range bytes.Lines(whole) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("line %d of a history: %w", len(events)+1, err)
		}
		events = append(events, e)
	}
	return events, nil
}
