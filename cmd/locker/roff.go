// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
)

// A roff is a page in the language of man(7).
type roff struct{ bytes.Buffer }

// macro writes a request with its arguments.
func (r *roff) macro(name string, args ...string) {
	r.WriteString("." + name)
	for _, arg := range args {
		r.WriteString(` "` + strings.ReplaceAll(escapeRoff(arg), `"`, `\(dq`) + `"`)
	}
	r.WriteByte('\n')
}

// line writes a line of text. At its start, points and apostrophes, as those
// that escapeRoff leaves, would make it a request, and spaces would break it.
func (r *roff) line(text string) { r.WriteString(`\&` + escapeRoff(text) + "\n") }

func (r *roff) bold(text string) { r.WriteString(`\fB` + escapeRoff(text) + `\fR` + "\n") }

// verbatim writes lines as they are.
func (r *roff) verbatim(text string) {
	r.macro("PP")
	r.macro("nf")
	for line := range strings.Lines(text) {
		r.line(strings.TrimRight(line, "\n"))
	}
	r.macro("fi")
}

// prose writes a text of the help. Its paragraphs are filled anew, but for
// indented lines, which are tables and examples.
func (r *roff) prose(text string) {
	for i, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if i > 0 {
			r.macro("PP")
		}
		lines := strings.SplitAfter(paragraph, "\n")
		for len(lines) > 0 && !indented(lines[0]) {
			r.line(strings.TrimSpace(lines[0]))
			lines = lines[1:]
		}
		if len(lines) > 0 {
			r.verbatim(strings.Join(lines, ""))
		}
	}
}

func indented(line string) bool { return strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") }

// escapeRoff makes what roff sets as something else, such as a typographic
// hyphen, the character that the help has: a reader copies it into a shell.
func escapeRoff(text string) string { return roffEscapes.Replace(text) }

var roffEscapes = strings.NewReplacer(
	`\`, `\(rs`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`,
)
