// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

// A run is one "locker run".
type run struct {
	store
	wait     time.Duration // negative: as long as it takes
	noWait   bool
	note     string
	grace    time.Duration
	heldExit int
	keepEnv  bool
	quiet    bool

	name    string
	command []string
}

func newRun() *cobra.Command {
	r := &run{wait: -1}
	cmd := &cobra.Command{
		Use:                   "run [flags] NAME [--] COMMAND [ARG...]",
		Short:                 "Run a command while holding a lock",
		Long:                  runHelp(),
		Example:               runExamples,
		DisableFlagsInUseLine: true,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp // NAME
			}
			return nil, cobra.ShellCompDirectiveDefault
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.parse(cmd, args); err != nil {
				return err
			}
			return r.run()
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // they end at NAME: what follows is the command's
	flags.SortFlags = false
	r.addFlags(flags)
	flags.DurationVar(&r.ttl, "ttl", 0, "how long a dead or unreachable holder keeps the lock (default 30s, or ttl in the URL)")
	flags.DurationVar(&r.wait, "wait", r.wait, "longest wait for the lock (default as long as it takes)")
	flags.BoolVar(&r.noWait, "no-wait", false, "do not wait if another holds the lock")
	flags.StringVar(&r.note, "note", "", "`TEXT` for those who look who holds the lock (default user, host, pid and COMMAND's name)")
	flags.DurationVar(&r.grace, "grace", 5*time.Second, "how long COMMAND may take to end when the lock is lost")
	flags.IntVar(&r.heldExit, "conflict-exit-code", exitHeld, "exit status `N` if another holds the lock")
	flags.BoolVar(&r.keepEnv, "keep-env", false, "leave $LOCKER_URL in COMMAND's environment")
	flags.BoolVar(&r.quiet, "quiet", false, "do not tell on a terminal for what locker waits")
	flags.Lookup("wait").DefValue = "0s" // which pflag does not print
	return cmd
}

func (r *run) parse(cmd *cobra.Command, args []string) error {
	if len(args) > 1 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return fail(exitUsage, "run needs a NAME and a COMMAND; see locker run --help")
	}
	r.name, r.command = args[0], args[1:]
	if !cmd.Flags().Changed("note") {
		r.note = defaultNote(r.command[0])
	}
	flags := cmd.Flags()
	switch {
	case flags.Changed("ttl") && r.ttl <= 0:
		return fail(exitUsage, "--ttl must be more than 0, such as 30s")
	case flags.Changed("wait") && r.wait < 0:
		return fail(exitUsage, "--wait must not be negative")
	case flags.Changed("wait") && r.noWait:
		return fail(exitUsage, "--wait and --no-wait exclude each other")
	case r.grace < 0:
		return fail(exitUsage, "--grace must not be negative")
	case r.heldExit < 0 || r.heldExit > 255:
		return fail(exitUsage, "--conflict-exit-code must be from 0 to 255")
	case len(r.note) > maxNote || !utf8.ValidString(r.note):
		return fail(exitUsage, "--note must be valid UTF-8 of at most %d bytes", maxNote)
	}
	return checkName(r.name)
}

const (
	maxName = 512
	maxNote = 1024
)

// checkName says before any exchange what the client would.
func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fail(exitUsage, "NAME must be valid UTF-8 of 1 to %d bytes", maxName)
	}
	return nil
}

func (r *run) lockOptions() []locker.Option {
	options := []locker.Option{locker.Note(r.note)}
	switch {
	case r.noWait:
		options = append(options, locker.NoWait())
	case r.wait >= 0:
		options = append(options, locker.MaxWait(r.wait))
	}
	return options
}

// environ is the command's environment. $LOCKER_URL may hold a password, which
// is none of the command's business.
func (r *run) environ(token int64) []string {
	var env []string
	for _, kv := range os.Environ() {
		switch key, _, _ := strings.Cut(kv, "="); {
		case key == "LOCKER_NAME", key == "LOCKER_TOKEN", key == "LOCKER_URL" && !r.keepEnv:
		default:
			env = append(env, kv)
		}
	}
	return append(env, "LOCKER_NAME="+r.name, fmt.Sprintf("LOCKER_TOKEN=%d", token))
}

// defaultNote says who runs what, but not with which arguments: they may be
// secret.
func defaultNote(command string) string {
	who, where := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		where = h
	}
	note := fmt.Sprintf("%s@%s pid %d %s", who, where, os.Getpid(), filepath.Base(command))
	return strings.ToValidUTF8(note[:min(len(note), maxNote)], "")
}

func runHelp() string {
	return `Run COMMAND while holding the lock NAME, and release it when COMMAND ends. Others
who ask for the same NAME on the same backend wait meanwhile.

Flags end at NAME: what follows is COMMAND's own. COMMAND's stdin, stdout and
stderr are locker's; it finds NAME in $LOCKER_NAME and the fencing token, which
grows with each holder, in $LOCKER_TOKEN. Signals that ask locker to end, and
SIGUSR1 and SIGUSR2, are passed on to COMMAND and what it started.

If the lock is lost, because the backend was unreachable for too long, was
restarted or somebody took the lock away, COMMAND and what it started get SIGTERM,
then SIGKILL: before another can get the lock where the loss is a matter of time,
else after --grace. Out of reach is what left COMMAND's process group, as each job
of an interactive shell does. What COMMAND leaves running when it ends by itself is
left alone, and does not keep the lock.

Without --backend and $LOCKER_URL the lock is a file in $XDG_STATE_HOME/locker or
~/.local/state/locker: it excludes the processes of one user on one machine. Lock
files of different users do not exclude each other.

A password in --backend shows in ps: put the URL into $LOCKER_URL.

Backends, with the parameters of their URLs:
` + backends() + `

` + exitTable
}

func backends() string {
	var lines []string
	for _, s := range backend.Schemes() {
		params := []string{"ttl"}
		for _, p := range s.Params {
			params = append(params, p.Name)
		}
		lines = append(lines, fmt.Sprintf("  %-12s %s", s.Name, strings.Join(params, ", ")))
	}
	return strings.Join(lines, "\n")
}

const runExamples = `  # one backup at a time on this machine; wait for a running one
  locker run backup ./backup.sh --full

  # the nightly report on one of many machines: whoever comes second goes home
  LOCKER_URL=redis://cache.example/0 locker run --no-wait --conflict-exit-code 0 report ./report

  # a schema migration: wait a minute at most
  locker run --backend 'postgres://db.example/app?ttl=15s' --wait 1m migrate ./migrate up

  # a shell that holds the lock
  locker run maintenance bash`
