// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"time"
)

// The content of a lock file, each line but the first with a checksum:
//
//	locker lock file v1
//	token 0001795534740123456 0a1b2c3d
//	token 0001795534740123455 4e5f6071
//	grant {"token":1795534740123456,"since":"…","name":"…","note":"…"} 8293a4b5
//
// The tokens stand at fixed places. A grant overwrites the smaller one and
// changes no byte of the other, so that every mixture of the old and the new
// content gives the old token or the new one.
const (
	magic      = "locker lock file v1\n"
	tokenLine  = len("token 0001795534740123456 0a1b2c3d\n")
	headerSize = len(magic) + 2*tokenLine

	// maxRecord is more than the longest name and note take, six bytes for
	// each of theirs.
	maxRecord = 64 << 10
)

var errForeign = errors.New("it has content that is not ours or is damaged; remove it while nobody holds the lock")

// A record is what a lock file says.
type record struct {
	tokens [2]int64    // zero: none yet, or unreadable
	grant  grantRecord // of the last token; zero if unreadable
}

// A grantRecord is what a lock file says to people.
type grantRecord struct {
	Token int64     `json:"token"`
	Since time.Time `json:"since"`
	Name  string    `json:"name"`
	Note  string    `json:"note,omitempty"`
}

// parse reads the content of a lock file. It refuses content from which the
// last token cannot be told.
func parse(data []byte) (record, error) {
	var r record
	head, rest := data[:min(len(data), headerSize)], data[min(len(data), headerSize):]
	readable := 0
	if after, ok := bytes.CutPrefix(head, []byte(magic)); ok {
		for i := range r.tokens {
			line := after[min(len(after), i*tokenLine):min(len(after), (i+1)*tokenLine)]
			if token, ok := parseToken(line); ok {
				r.tokens[i] = token
				readable++
			}
		}
	}
	if readable == 0 && !cutShort(head) {
		return record{}, errForeign
	}
	if g, ok := parseGrant(rest); ok && g.Token == r.last() {
		r.grant = g
	}
	return r, nil
}

// cutShort reports whether head is what a crash or a full disk leaves of the
// very first write, after which no token was ever given: a part of the header
// and then nothing, or zeros.
func cutShort(head []byte) bool {
	head = bytes.TrimRight(head, "\x00")
	return len(head) < headerSize &&
		(bytes.HasPrefix(head, []byte(magic)) || bytes.HasPrefix([]byte(magic), head))
}

func parseToken(line []byte) (int64, bool) {
	digits, ok := cutLine(line, "token")
	if !ok || len(digits) != 19 {
		return 0, false
	}
	token, err := strconv.ParseUint(string(digits), 10, 63)
	return int64(token), err == nil
}

func parseGrant(data []byte) (grantRecord, bool) {
	text, ok := cutLine(data[:bytes.IndexByte(data, '\n')+1], "grant")
	if !ok {
		return grantRecord{}, false
	}
	var g grantRecord
	return g, json.Unmarshal(text, &g) == nil
}

// last returns the last token that was given, or zero.
func (r record) last() int64 { return max(r.tokens[0], r.tokens[1]) }

// next returns the record after grant g.
func (r record) next(g grantRecord) record {
	older := 0
	if r.tokens[1] < r.tokens[0] {
		older = 1
	}
	r.tokens[older], r.grant = g.Token, g
	return r
}

// bytes returns the content of the lock file.
func (r record) bytes() []byte {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.grant); err != nil {
		panic(err) // only for a year beyond 9999
	}
	out := []byte(magic)
	for _, t := range r.tokens {
		out = appendLine(out, "token", fmt.Appendf(nil, "%019d", t))
	}
	return appendLine(out, "grant", bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

func appendLine(out []byte, key string, value []byte) []byte {
	return fmt.Appendf(out, "%s %s %08x\n", key, value, sum(key, value))
}

// cutLine returns the value of a line that appendLine could have written.
func cutLine(line []byte, key string) ([]byte, bool) {
	value, ok := bytes.CutPrefix(line, []byte(key+" "))
	n := len(value) - len(" 0a1b2c3d\n")
	if !ok || n < 0 || !bytes.Equal(value[n:], fmt.Appendf(nil, " %08x\n", sum(key, value[:n]))) {
		return nil, false
	}
	return value[:n], true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(key string, value []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, value)
}
