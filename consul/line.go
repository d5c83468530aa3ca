// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// lines are those of a Backend: one for each lock that is waited for. The first
// in a line alone asks Consul, so that a process has one blocking query for a
// lock, whatever the number of its waiters.
type lines struct {
	most int // at a time

	mu sync.Mutex
	of map[string][]*place // by the lock's name, in the order of the tokens
}

// A place is that of one waiter. The lines' mutex guards what changes.
type place struct {
	lines *lines
	name  string
	token int64
	moved chan struct{}      // closed when it has become the first
	yield context.CancelFunc // ends its turn, if it has one
}

func newLines(most int) lines { return lines{most: most, of: map[string][]*place{}} }

// join puts a waiter into the line of a lock. It fails if that would be one line
// too many.
func (l *lines) join(name string, token int64) (*place, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := l.of[name]
	if line == nil && len(l.of) >= l.most {
		return nil, fmt.Errorf("%d locks are waited for, with a connection each: that is the cap (Config.MaxWaiting, max_waiting)", len(l.of))
	}
	p := &place{lines: l, name: name, token: token, moved: make(chan struct{}), yield: func() {}}
	at, _ := slices.BinarySearchFunc(line, token, func(p *place, token int64) int { return int(min(max(p.token-token, -1), 1)) })
	if at == 0 && len(line) > 0 {
		line[0].yield()
		line[0].moved = make(chan struct{})
	}
	l.of[name] = slices.Insert(line, at, p)
	return p, nil
}

// turn returns once the waiter is the first in its line, with a context that
// ends when it is not any more, or with the cause of the end of ctx.
func (p *place) turn(ctx context.Context) (context.Context, error) {
	for {
		turn, moved := p.first(ctx)
		if turn != nil {
			return turn, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// first returns a turn for the first in a line, and a channel for others.
func (p *place) first(ctx context.Context) (turn context.Context, moved <-chan struct{}) {
	p.lines.mu.Lock()
	defer p.lines.mu.Unlock()
	if p.lines.of[p.name][0] != p {
		return nil, p.moved
	}
	p.yield()
	turn, p.yield = context.WithCancel(ctx)
	return turn, nil
}

// leave takes the waiter out of its line.
func (p *place) leave() {
	l := p.lines
	l.mu.Lock()
	defer l.mu.Unlock()
	p.yield()
	line := l.of[p.name]
	at := slices.Index(line, p)
	line = slices.Delete(line, at, at+1)
	if len(line) == 0 {
		delete(l.of, p.name)
		return
	}
	l.of[p.name] = line
	if at == 0 {
		close(line[0].moved)
	}
}
