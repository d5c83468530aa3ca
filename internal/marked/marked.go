// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package marked rewrites the generated part of a document, which stands between
// these two lines:
//
//	<!-- NAME:begin -->
//	<!-- NAME:end -->
package marked

import (
	"fmt"
	"os"
	"strings"
)

// Rewrite replaces what is between the lines of name in a file. A file without
// them is left as it is, with an error.
func Rewrite(file, name, text string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
	before, rest, begins := strings.Cut(string(content), begin)
	_, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return fmt.Errorf("%s has no line %s, or no %s after it", file, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(file, []byte(before+begin+"\n"+strings.Trim(text, "\n")+"\n\n"+end+after), 0o644)
}
