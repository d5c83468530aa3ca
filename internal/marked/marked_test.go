// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package marked

import (
	"os"
	"path/filepath"
	"testing"
)

const begin, end = "<!-- it:begin -->\n", "<!-- it:end -->"

func TestRewrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	for content, want := range map[string]string{
		"before\n" + begin + "old\n" + end + "\nafter\n": "before\n" + begin + "\nnew\n\n" + end + "\nafter\n",
		begin + end:           begin + "\nnew\n\n" + end,
		"":                    "",
		begin:                 "",
		end + "\n" + begin:    "",
		"<!-- that:begin -->": "",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Rewrite(file, "it", "\nnew\n")
		if want == "" {
			want = content
			if err == nil {
				t.Errorf("no error for the document %q", content)
			}
		} else if err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%q became %q, want %q (%v)", content, got, want, err)
		}
	}
	if Rewrite(file+".none", "it", "") == nil {
		t.Error("no error without a document")
	}
}
