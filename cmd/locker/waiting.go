// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

const (
	waitingAfter  = time.Second     // of silence, then the line appears
	waitingEvery  = time.Second     // it is written anew
	inspectEvery  = 5 * time.Second // it asks who holds the lock
	inspectWithin = 2 * time.Second
)

// A waitingLine says on a terminal for what locker waits, rewritten in place.
type waitingLine struct {
	run    *run
	client *locker.Client
	start  time.Time
	holder string // who holds the lock, if known
	asked  time.Time
	drawn  bool

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// showWaiting starts a line, if stderr is a terminal that understands it.
func (r *run) showWaiting(ctx context.Context, client *locker.Client) *waitingLine {
	ctx, cancel := context.WithCancel(ctx)
	w := &waitingLine{run: r, client: client, start: backend.Now(), cancel: cancel}
	t := os.Getenv("TERM")
	if !r.quiet && !r.noWait && t != "" && t != "dumb" && term.IsTerminal(int(os.Stderr.Fd())) {
		w.done.Go(func() { w.show(ctx) })
	}
	return w
}

// remove ends the line and wipes it off the terminal.
func (w *waitingLine) remove() {
	w.cancel()
	w.done.Wait()
	if w.drawn {
		w.write("")
	}
}

func (w *waitingLine) show(ctx context.Context) {
	for pause := waitingAfter; ; pause = waitingEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		w.ask(ctx)
		if ctx.Err() == nil && inForeground(os.Stderr) {
			w.drawn = true
			w.write(w.text())
		}
	}
}

func (w *waitingLine) text() string {
	waited := backend.Now().Sub(w.start).Truncate(time.Second)
	return fmt.Sprintf("locker: waiting %v for %q%s", waited, w.run.name, w.holder)
}

// ask learns who holds the lock, from backends that can tell.
func (w *waitingLine) ask(ctx context.Context) {
	now := backend.Now()
	if !w.asked.IsZero() && now.Sub(w.asked) < inspectEvery {
		return
	}
	w.asked = now
	ctx, cancel := context.WithTimeout(ctx, inspectWithin)
	defer cancel()
	state, err := locker.Inspect(ctx, w.client, w.run.name)
	w.holder = ""
	if err == nil && state.Held && state.Note != "" {
		w.holder = ", held by " + printable(state.Note)
	}
}

// write replaces the line. It is cut to the terminal's width, since a line that
// wraps cannot be rewritten.
func (w *waitingLine) write(text string) {
	if width, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && width > 1 {
		if runes := []rune(text); len(runes) >= width {
			text = string(runes[:width-1])
		}
	}
	fmt.Fprint(os.Stderr, "\r"+text+"\x1b[K")
}

// printable makes a text of others fit for a terminal: it could hold control
// sequences.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
