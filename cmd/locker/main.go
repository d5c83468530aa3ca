// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Command locker runs a command while it holds a distributed lock, on any
// backend of this module. "locker run --help" says how.
package main

import (
	"fmt"
	"log/slog"
	"os"

	redislog "github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	_ "github.com/golocker/locker/backend/all"
)

func main() { os.Exit(execute(os.Args[1:])) }

// execute runs the command line and returns the exit status.
func execute(args []string) int {
	slog.SetDefault(quiet) // and package log with it: stderr is for refusals
	redislog.Disable()

	root := newRoot()
	root.SetArgs(args)
	status, line := outcome(root.Execute())
	if line != "" {
		fmt.Fprintln(os.Stderr, "locker: "+line)
	}
	return status
}

func init() { cobra.EnableCommandSorting = false } // what matters comes first

var quiet = slog.New(slog.DiscardHandler)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "locker",
		Short: "Run commands while holding a distributed lock",
		Long: `locker runs a command while it holds a lock, so that it runs once at a time:
on one machine with lock files, or on many with a server that you have.`,
		SilenceErrors:      true, // execute prints them, each on one line
		SilenceUsage:       true,
		DisableSuggestions: true, // they take several lines
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fail(exitUsage, "%v; see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(newRun(), newInspect(), newVersion(), newMan())
	refuseOtherShells(root)
	return root
}

// refuseOtherShells makes an unknown shell an error: cobra prints the help, which
// would end in a file of completions.
func refuseOtherShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}
