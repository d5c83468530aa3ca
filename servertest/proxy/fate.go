// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

// A fate is what becomes of a unit.
type fate int

const (
	whole   fate = iota // it passes
	swallow             // it vanishes, the connection stays
	cut                 // a part of it passes, then the connection ends
)

// fate decides about n bytes of a connection, of which the first pass bytes may go through.
func (p *Proxy) fate(l *link, dir Direction, n int) (pass int, _ fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.faults
	if f.drop[dir] {
		l.holed.Store(true)
		return 0, swallow
	}
	if f.every > 0 && dir == ToClient {
		if l.holed.Load() {
			return 0, swallow
		}
		if f.replies++; f.replies >= f.every {
			f.replies = 0
			l.holed.Store(true)
			return 0, swallow
		}
	}
	if !f.cut[dir] {
		return n, whole
	}
	if n < f.left[dir] {
		f.left[dir] -= n
		return n, whole
	}
	f.cut[dir] = false // once
	return f.left[dir], cut
}
