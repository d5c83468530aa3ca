// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/golocker/locker/backend"
)

const watchInterval = time.Second

var errVanished = errors.New("the server no longer has the session that waited")

// startWatch runs the watch while there is a wait. b.mu is held.
func (b *Backend) startWatch() {
	if !b.watching && !b.closed {
		b.watching = true
		b.goroutines.Go(b.watch)
	}
}

// watch looks after the waits once a second, by the shared session. A statement
// that blocks holds a snapshot, for which CREATE INDEX CONCURRENTLY and VACUUM
// wait: it is renewed when somebody does, or when it is old (P8). And a
// connection on which nothing is sent does not notice that its server is gone.
func (b *Backend) watch() {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.life.Done():
			return
		case <-ticker.C:
		}
		b.mu.Lock()
		waits := make(map[uint32]*wait, len(b.waits))
		for w := range b.waits {
			waits[w.session.pid] = w
		}
		ttl := b.ttl
		if len(waits) == 0 {
			b.watching = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		b.lookAfter(waits, ttl)
	}
}

func (b *Backend) lookAfter(waits map[uint32]*wait, ttl time.Duration) {
	ctx, cancel := context.WithTimeout(b.life, connectTimeout)
	defer cancel()
	s, err := b.shared(ctx, ttl)
	if err != nil {
		return // later
	}
	pids := make([]uint32, 0, len(waits))
	for pid := range waits {
		pids = append(pids, pid)
	}
	o := query(watchSQL(pids))
	if err := s.do(ctx, o); err != nil {
		return
	}
	lives, renew := map[*wait]bool{}, map[*wait]bool{}
	for _, row := range o.rows {
		pid, err := strconv.ParseUint(*row[1], 10, 32)
		w := waits[uint32(pid)]
		switch {
		case err != nil || w == nil:
		case *row[0] == "blocks":
			renew[w] = true
		default:
			lives[w] = row[2] != nil && *row[2] == w.session.started
		}
	}
	for pid, w := range waits {
		switch {
		case !lives[w]:
			w.session.fail(lostSession(errVanished), true)
		case renew[w] || b.aged(w):
			s.enqueue(query(cancelSQL(pid)))
		}
	}
}

// aged says whether a wait has kept its snapshot for long enough.
func (b *Backend) aged(w *wait) bool {
	b.mu.Lock()
	o := w.op
	b.mu.Unlock()
	select {
	case <-o.done:
		return false
	default:
	}
	w.session.mu.Lock()
	defer w.session.mu.Unlock()
	return !o.sent.IsZero() && backend.Now().Sub(o.sent) >= b.cfg.snapshotAge()
}
