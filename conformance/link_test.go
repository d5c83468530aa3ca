// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

var (
	errReset   = errors.New("connection reset by peer")
	errRefused = errors.New("connection refused")
)

// A link is the connection of one reference client to its store.
type link struct {
	mu       sync.Mutex
	fault    Fault
	delay    time.Duration
	requests int
	cut      chan struct{} // closed when connections are cut
	passing  bool          // while requests are held: a Sever has come between
	kept     []func()
	closed   bool
	broken   bool // something was swallowed since the last cut
}

func newLink() *link { return &link{cut: make(chan struct{})} }

func (l *link) Inject(f Fault) bool {
	l.mu.Lock()
	kept := l.kept
	l.kept, l.passing, l.fault = nil, false, f
	if f == Refuse || f == None && l.broken {
		l.sever()
	}
	l.mu.Unlock()
	for _, deliver := range kept {
		deliver()
	}
	return true
}

func (l *link) Delay(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

func (l *link) Sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passing = true
	l.sever()
}

func (l *link) sever() {
	l.broken = false
	close(l.cut)
	l.cut = make(chan struct{})
}

func (l *link) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

func (l *link) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0
	}
	return 1
}

// close ends the connection for good.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// reset returns a channel that is closed when the present connection is cut.
func (l *link) reset() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// call makes one exchange: do runs in the store. An error says that its answer
// did not come.
func (l *link) call(ctx context.Context, do func()) error {
	l.mu.Lock()
	fault, cut, delay := l.fault, l.cut, l.delay
	if fault == Refuse {
		l.mu.Unlock()
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, errRefused)
	}
	l.requests++
	if fault == HoldRequests && l.passing {
		fault = None
	}
	answer := make(chan struct{})
	reply := func() { close(answer) }
	if delay > 0 {
		reply = func() { time.AfterFunc(delay, func() { close(answer) }) }
	}
	switch fault {
	case DropRequests, BlackHole:
		l.broken = true
	case HoldRequests:
		l.kept = append(l.kept, func() { do(); reply() })
	}
	l.mu.Unlock()
	switch fault {
	case None:
		go func() { do(); reply() }()
	case DropReplies:
		go do()
		l.mu.Lock()
		l.broken = true
		l.mu.Unlock()
	}
	select {
	case <-answer:
		return nil
	case <-cut:
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, errReset)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, ctx.Err())
	}
}

// push sends something from the store to the client.
func (l *link) push(deliver func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.fault == DropReplies || l.fault == BlackHole:
		l.broken = true
	case l.delay > 0:
		time.AfterFunc(l.delay, deliver)
	default:
		deliver()
	}
}
