// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package sessionstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// A Kind is what a request asks for.
type Kind string

// The kinds of requests. The watches are answered when what they watch is gone.
const (
	CreateSession Kind = "create session"
	RenewSession  Kind = "renew session"
	WatchSession  Kind = "watch session"
	EndSession    Kind = "end session"
	Enqueue       Kind = "enqueue"
	WatchKey      Kind = "watch key"
	Verify        Kind = "verify"
	Delete        Kind = "delete"   // by Unlock
	Withdraw      Kind = "withdraw" // a delete by Withdraw
	Inspect       Kind = "inspect"
)

// A Message is a request on its way to the store, or its reply.
type Message struct {
	Kind  Kind
	Reply bool
	Name  string // of the lock, where there is one
	Owner string
}

// A Fate is what becomes of a message. The zero Fate is to arrive at once.
type Fate struct {
	Lose   bool            // it never arrives, and nobody is told: the exchange hangs until its context ends
	Refuse error           // it does not arrive, and the sender is told: ErrUnavailable is added to the text
	Hold   <-chan struct{} // it arrives once this is closed, though its sender may have gone
	Delay  time.Duration   // it arrives so much later
}

// A Link carries the messages of one client. It is safe for concurrent use.
type Link struct {
	mu     sync.Mutex
	hook   func(Message) Fate
	counts map[Kind]int
}

// Hook sets what decides the fate of each message from now on; nil: all arrive.
// It may be called by many goroutines.
func (l *Link) Hook(hook func(Message) Fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hook = hook
}

// Cut makes all messages be lost, replies of waiting watches too, until the
// next Hook.
func (l *Link) Cut() { l.Hook(func(Message) Fate { return Fate{Lose: true} }) }

// Refuse makes all requests be refused, until the next Hook.
func (l *Link) Refuse() {
	l.Hook(func(Message) Fate { return Fate{Refuse: errors.New("connection refused")} })
}

// Requests returns how many requests of a kind were sent; of all kinds if none
// is given.
func (l *Link) Requests(kinds ...Kind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for kind, count := range l.counts {
		for _, k := range kinds {
			if k == kind {
				n += count
			}
		}
		if len(kinds) == 0 {
			n += count
		}
	}
	return n
}

// exchange carries a request to the store, where apply executes it, and its
// reply back.
func exchange[T any](ctx context.Context, l *Link, m Message, apply func(context.Context) (T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, unavailable(context.Cause(ctx))
	}
	fate := l.fate(m)
	if fate.Refuse != nil {
		return none, unavailable(fate.Refuse)
	}
	if fate.Lose {
		<-ctx.Done()
		return none, unavailable(context.Cause(ctx))
	}
	var reply T
	var err error
	if fate.Hold == nil && fate.Delay == 0 {
		reply, err = apply(ctx)
	} else {
		applied := make(chan struct{})
		go func() { // the network's, which still has the request when its sender has gone
			defer close(applied)
			fate.pass(context.WithoutCancel(ctx))
			reply, err = apply(ctx)
		}()
		if wait(ctx, applied) != nil {
			return none, unavailable(context.Cause(ctx))
		}
	}

	m.Reply = true
	fate = l.fate(m)
	if fate.Refuse != nil {
		return none, unavailable(fate.Refuse)
	}
	if fate.Lose {
		<-ctx.Done()
	}
	fate.pass(ctx)
	if ctx.Err() != nil {
		return none, unavailable(context.Cause(ctx))
	}
	return reply, err
}

func (l *Link) fate(m Message) Fate {
	l.mu.Lock()
	if !m.Reply {
		if l.counts == nil {
			l.counts = map[Kind]int{}
		}
		l.counts[m.Kind]++
	}
	hook := l.hook
	l.mu.Unlock()
	if hook == nil {
		return Fate{}
	}
	return hook(m)
}

// pass returns when the message arrives, or ctx ends.
func (f Fate) pass(ctx context.Context) {
	if f.Hold != nil {
		_ = wait(ctx, f.Hold)
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", backend.ErrUnavailable, err) }
