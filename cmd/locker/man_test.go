// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The page holds all of the help, in the help's words.
func TestManPage(t *testing.T) {
	status, page, stderr := runLocker(t, t.TempDir(), "man")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	text := oneSpaced(unroff(page))
	want := func(what, part string) {
		t.Helper()
		if !strings.Contains(text, oneSpaced(part)) {
			t.Errorf("the page lacks %s: %q", what, part)
		}
	}
	for row := range strings.Lines(exitTable) { // as rows, not filled
		if !strings.Contains(unroff(page), strings.TrimRight(row, "\n")+"\n") {
			t.Errorf("the page lacks the row %q", row)
		}
	}
	root := newRoot()
	root.InitDefaultCompletionCmd()
	commands := commandsBelow(root)
	if len(commands) != 3+4 || commands[0].Name() != "run" {
		t.Errorf("%d commands, want run first of 3, and 4 of completion", len(commands))
	}
	for _, cmd := range commands {
		name := cmd.CommandPath()
		want(name, cmd.UseLine())
		want(name, helpOf(cmd))
		want(name, cmd.Example)
		cmd.InitDefaultHelpFlag()
		flags := 0
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			kind, usage := pflag.UnquoteUsage(f)
			if kind != "" {
				kind = " " + kind
			}
			want(name, "--"+f.Name+kind+" "+usage)
			flags++
		})
		if flags == 0 {
			t.Errorf("%s has no flags", name)
		}
	}
}

func TestManIsHidden(t *testing.T) {
	_, stdout, _ := runLocker(t, t.TempDir(), "--help")
	if strings.Contains(stdout, "manual") || !strings.Contains(stdout, "inspect") {
		t.Errorf("the help is %q", stdout)
	}
}

// groff finds nothing to warn of, nor do others that are there.
func TestManPageIsSound(t *testing.T) {
	needProgram(t, "groff")
	_, page, _ := runLocker(t, t.TempDir(), "man")
	for _, checker := range [][]string{
		{"groff", "-man", "-Tascii", "-ww", "-z"},
		{"mandoc", "-man", "-Tlint", "-Wwarning"},
		{"man", "-l", "-"},
	} {
		if _, err := exec.LookPath(checker[0]); err != nil {
			continue
		}
		c := exec.Command(checker[0], checker[1:]...)
		c.Stdin = strings.NewReader(page)
		out, err := c.CombinedOutput()
		if err != nil || checker[0] != "man" && len(out) > 0 {
			t.Errorf("%q: %v: %s", checker, err, out)
		}
	}
}

// A line of the help may look like a request, and what roff sets as a
// typographic character is copied into shells.
func TestRoff(t *testing.T) {
	var r roff
	r.prose(".TH x\n'quote\n\n  a -b \\ `c` ~/d\n\n\\fBe")
	r.macro("SH", `say "x"`)
	got := r.String()
	want := "\\&.TH x\n\\&\\(aqquote\n.PP\n.PP\n.nf\n\\&  a \\-b \\(rs \\(gac\\(ga \\(ti/d\n.fi\n.PP\n\\&\\(rsfBe\n.SH \"say \\(dqx\\(dq\"\n"
	if got != want {
		t.Errorf("roff is\n%s\nwant\n%s", got, want)
	}
}

var roffRequest = regexp.MustCompile(`(?m)^\..*\n`)

// unroff is the text of a page.
func unroff(page string) string {
	text := roffRequest.ReplaceAllString(page, "")
	return strings.NewReplacer(`\fB`, "", `\fR`, "", `\&`, "", `\(rs`, `\`, `\-`, "-", `\(aq`, "'", `\(ga`, "`", `\(ha`, "^", `\(ti`, "~").Replace(text)
}

func oneSpaced(text string) string { return strings.Join(strings.Fields(text), " ") }
