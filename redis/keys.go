// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import "strings"

// keys are those of one lock, all in one cluster slot.
type keys struct{ lock, queue, waiters, fence string }

// keysOf returns the keys of the lock whose escaped name is key.
func keysOf(prefix, key string) keys {
	lock := prefix + key
	if strings.Contains(lock, "}") && hashTag(lock) == "" {
		// No tag could repeat such a key, so its braces go. The escaper never
		// yields ~7D, since it leaves braces alone.
		lock = strings.ReplaceAll(lock, "}", "~7D")
	}
	return keys{
		lock:    lock,
		queue:   beside(lock, "queue"),
		waiters: beside(lock, "waiters"),
		fence:   beside(lock, "fence"),
	}
}

// tombstone returns the key that fences the requests of an owner.
func (k keys) tombstone(owner string) string { return beside(k.lock, "gone:"+owner) }

// all returns what the scripts that settle name.
func (k keys) all(owner string) []string {
	return []string{k.lock, k.queue, k.waiters, k.fence, k.tombstone(owner)}
}

// beside returns a key, or a shard channel, in the slot of lock. No lock has
// it, since the escaper never yields ~ and a small letter or another ~; and "x"
// and "{x}" differ by that.
func beside(lock, what string) string {
	if hashTag(lock) == "" {
		return "{" + lock + "}~~" + what
	}
	return lock + "~" + what
}

// hashTag returns the part of key that alone decides the slot, or "" if the
// whole key does.
func hashTag(key string) string {
	_, rest, ok := strings.Cut(key, "{")
	if !ok {
		return ""
	}
	tag, _, ok := strings.Cut(rest, "}")
	if !ok {
		return ""
	}
	return tag
}
