// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// PowerShell is not run: its script is looked at here, and what it asks locker
// by the next test.
func TestCompletionIsGenerated(t *testing.T) {
	for shell, mark := range map[string]string{
		"bash":       "complete -o default -F __start_locker locker",
		"zsh":        "#compdef locker",
		"fish":       "complete -c locker",
		"powershell": "Register-ArgumentCompleter -CommandName 'locker'",
	} {
		status, stdout, stderr := runLocker(t, t.TempDir(), "completion", shell)
		if status != 0 || stderr != "" || !strings.Contains(stdout, mark) || !strings.Contains(stdout, "__complete") {
			t.Errorf("%s: status %d, stderr %q, %d bytes without %q or __complete", shell, status, stderr, len(stdout), mark)
		}
	}
}

// What the scripts of all shells ask: the last argument is completed. The answer
// ends in a number, of which 4 means that files are no completions.
func TestComplete(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"ru"}, "run :4"},
		{[]string{"run", "--no-w"}, "--no-wait :4"},
		{[]string{"run", "--no-wait", ""}, ":4"},
		{[]string{"run", "x", ""}, ":0"},
		{[]string{"run", "x", "true", "--no-w"}, ":0"},
		{[]string{"inspect", "--js"}, "--json :4"},
		{[]string{"inspect", ""}, ":4"},
	} {
		status, stdout, _ := runLocker(t, t.TempDir(), append([]string{"__completeNoDesc"}, tt.args...)...)
		if got := strings.Join(strings.Fields(stdout), " "); status != 0 || got != tt.want {
			t.Errorf("%q: status %d, %q, want %q", tt.args, status, got, tt.want)
		}
	}
}

// A completer is a shell that reads its settings from a file.
type completer struct {
	settings string   // the file
	before   string   // in it, before locker's script
	args     []string // of the shell, whose home is the file's directory
}

var completers = map[string]completer{
	// Completions of bash are written for the package bash-completion, of which
	// this one function is needed, and which need not be here.
	"bash": {".bashrc", `_get_comp_words_by_ref() {
	words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
	cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
}
set +o history
`, []string{"--noprofile"}},
	"zsh":  {".zshrc", "bindkey -e; autoload -U compinit; compinit -u -D\n", []string{"-d"}},
	"fish": {".config/fish/config.fish", "set -g fish_greeting\n", nil},
}

// TAB in an interactive shell: commands and flags are completed, a lock's NAME is
// left alone though there is a file that begins like it, and what follows NAME is
// the command's.
func TestShellCompletes(t *testing.T) {
	for name, c := range completers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needProgram(t, name)
			dir := t.TempDir()
			_, script, _ := runLocker(t, dir, "completion", name)
			writeFile(t, filepath.Join(dir, "some-file"), "")
			writeFile(t, filepath.Join(dir, c.settings), c.before+script)

			s := newScreen(t)
			shell := exec.Command(name, append(c.args, "-i")...)
			shell.Dir = dir
			shell.Env = append(os.Environ(), "HOME="+dir, "ZDOTDIR="+dir, "XDG_CONFIG_HOME=", "XDG_DATA_HOME=",
				"PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "TERM=dumb", "INPUTRC=/dev/null")
			shell.Stdin, shell.Stdout, shell.Stderr = s.tty, s.tty, s.tty
			shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := shell.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = shell.Process.Kill()
				_ = shell.Wait()
			})
			for i, tt := range []struct{ typed, want string }{
				{"locker ru", "locker run"},
				{"locker compl", "locker completion"},
				{"locker run --gra", "locker run --grace"},
				{"locker run --no-w", "locker run --no-wait"},
				{"locker inspect --js", "locker inspect --json"},
				{"locker run some-", "locker run some-"},
				{"locker run --no-wait some-", "locker run --no-wait some-"},
				{"locker inspect some-", "locker inspect some-"},
				{"locker run x some-", "locker run x some-file"},
				{"locker run x true --gra", "locker run x true --gra"},
			} {
				// After TAB, the line becomes the arguments of printf.
				got := filepath.Join(dir, fmt.Sprint("line", i))
				s.typeIn(tt.typed + "\t\x01printf '%s ' \x05 >" + got + ".part; mv " + got + ".part " + got + "\r")
				eventually(t, name+" has read "+tt.typed, func() bool { _, err := os.Stat(got); return err == nil })
				line, err := os.ReadFile(got)
				if err != nil {
					t.Fatal(err)
				}
				if text := strings.TrimSpace(string(line)); text != tt.want {
					t.Errorf("%q and TAB gives %q, want %q", tt.typed, text, tt.want)
				}
			}
		})
	}
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
