// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "strings"

// Escape maps a name to a key that every store takes literally: printable
// ASCII stays, but for the space, "/", "%" and "~"; every other byte becomes
// "~" and two upper-case hex digits, and so do the names "." and ".." as a
// whole. Different names give different keys; no key holds a separator; none
// holds "~" followed by anything but a hex digit, so that an adapter can keep
// keys of its own beside those of names.
//
// It is not %XX, because servers decode that on the way to the key.
func Escape(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "~2E")
	}
	plain := true
	for i := range len(name) {
		plain = plain && isPlain(name[i])
	}
	if plain {
		return name
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('~')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

func isPlain(c byte) bool {
	return c > ' ' && c < 0x7f && c != '/' && c != '%' && c != '~'
}
