// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/servertest/history"
)

// An Open opens a client of the store at a URL, as a process of its own has it.
// If it can tell that the store has queued a Lock, it calls queued with the Note
// of that Lock. If what it returns is an [io.Closer], it is closed in the end.
type Open func(ctx context.Context, url string, ttl time.Duration, queued func(note string)) (locker.Locker, error)

// workerVar makes a process a client of a run.
const workerVar = "LOCKER_STRESS_WORKER"

const eventsFD = 3 // where a client writes its part of the history

// settings are what a run tells its clients.
type settings struct {
	Client      string
	Incarnation int
	URL         string
	TTL         time.Duration
	Socket      string // the desk's
	Threads     int
	Seed        uint64
}

// Worker makes this process a client of a run, if a run has started it as one,
// and then does not return. TestMain, or main, calls it first.
func Worker(open Open) {
	text := os.Getenv(workerVar)
	if text == "" {
		return
	}
	w := &worker{}
	if err := json.Unmarshal([]byte(text), &w.settings); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(2)
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	w.history = history.NewRecorder(os.NewFile(eventsFD, "history"))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // whoever started the run is gone
	}()
	if err := w.run(open); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// A worker is a client: one process, with one Locker and a few goroutines that
// share it.
type worker struct {
	settings
	locker  locker.Locker
	history *history.Recorder
}

func (w *worker) run(open Open) error {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		var err error
		w.locker, err = open(ctx, w.URL, w.TTL, w.queued)
		cancel()
		if err == nil {
			break
		}
		slog.Warn("open failed; trying again", "error", err) // a fault may be in the way
		<-time.After(200 * time.Millisecond)
	}
	errs := make([]error, w.Threads)
	var threads sync.WaitGroup
	for i := range errs {
		threads.Go(func() { errs[i] = w.work() })
	}
	threads.Wait()
	err := errors.Join(append(errs, w.history.Err())...)
	if closer, ok := w.locker.(io.Closer); ok {
		if closeErr := closer.Close(); closeErr != nil {
			slog.Warn("close", "error", closeErr)
		}
	}
	return err
}

// queued is told the note of a Lock, which is its operation.
func (w *worker) queued(note string) {
	var e history.Event
	if _, err := fmt.Sscanf(note, noteFormat, &e.Op, &e.Key); err == nil {
		e.F, e.Type = history.Queued, history.Info
		w.record(e)
	}
}

const noteFormat = "op %d of %s"

func (w *worker) record(e history.Event) {
	e.Client, e.Incarnation, e.TTL, e.Seed = w.Client, w.Incarnation, w.TTL, w.Seed
	w.history.Record(e)
}

// work carries out plans until there are no more.
func (w *worker) work() error {
	conn, err := net.Dial("unix", w.Socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	ask := func(q question) (a answer, err error) {
		q.Client = w.Client
		if err = out.Encode(q); err == nil {
			err = in.Decode(&a)
		}
		return a, err
	}
	for {
		a, err := ask(question{Do: "next"})
		if err != nil || a.Plan.Over {
			return err
		}
		t := &turn{worker: w, Plan: *a.Plan, ask: ask}
		if err := t.run(); err != nil {
			return err
		}
		<-time.After(a.Plan.Rest)
	}
}
