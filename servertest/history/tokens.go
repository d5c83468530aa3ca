// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package history

import "fmt"

// Tokens finds two grants of one lock with the same token, and a grant whose
// token is not larger than that of a grant which was over before it was asked
// for.
func Tokens(h *History, p Promise) (found []Verdict) {
	if !p.Fencing {
		return nil
	}
	for _, key := range h.keys {
		byToken := map[int64]*lease{}
		leases := h.of(key)
		for i, l := range leases {
			wrong := func(format string, args ...any) {
				found = append(found, Verdict{Key: key, From: l.asked, To: l.from, Text: fmt.Sprintf("%s (op %d) ", l.client, l.op) + fmt.Sprintf(format, args...)})
			}
			if l.token <= 0 {
				wrong("was granted the lock with token %d, want a positive one", l.token)
			}
			if other := byToken[l.token]; other != nil {
				wrong("got token %d, which %s (op %d) had", l.token, other.client, other.op)
			}
			byToken[l.token] = l
			var before *lease // the largest token that was surely granted before
			for _, o := range leases[:i] {
				if o.from < l.asked && (before == nil || o.token > before.token) {
					before = o
				}
			}
			if before != nil && l.token < before.token {
				wrong("got token %d after %s (op %d) had %d", l.token, before.client, before.op, before.token)
			}
		}
	}
	return found
}
