// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"crypto/sha256"
	"encoding/binary"
)

// Key returns the key of the advisory lock that stands for a name: the first
// 64 bits of a SHA-256 over prefix and name, after a fixed text that keeps it
// apart from the keys of others. Two of n names share a key with a probability
// of about n²/2⁶⁵; they then exclude each other.
func Key(prefix, name string) int64 { return keyOf(prefix, name) }

func keyOf(prefix, name string) int64 {
	return hash("locker/postgres\x00" + prefix + "\x00" + name)
}

func hash(text string) int64 {
	sum := sha256.Sum256([]byte(text))
	return int64(binary.BigEndian.Uint64(sum[:]))
}
