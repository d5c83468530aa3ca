// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newMan is for those who package locker. The page is made from the text of the
// help, so that the two cannot differ.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:               "man",
		Short:             "Print the manual page, as roff",
		Hidden:            true,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var page roff
			page.command(cmd.Root())
			_, err := cmd.OutOrStdout().Write(page.Bytes())
			return err
		},
	}
}

// command writes the page of the root command, with a section for each of the
// commands below it.
func (r *roff) command(root *cobra.Command) {
	r.macro("TH", strings.ToUpper(root.Name()), "1", "", root.Name()+" "+version(), "User Commands")
	r.macro("SH", "NAME")
	r.line(root.Name() + " - " + strings.ToLower(root.Short[:1]) + root.Short[1:])
	r.macro("SH", "SYNOPSIS")
	leaves := commandsBelow(root)
	for i, cmd := range leaves {
		if i > 0 {
			r.macro("br")
		}
		r.bold(cmd.UseLine())
	}
	r.macro("SH", "DESCRIPTION")
	r.prose(root.Long)
	for _, cmd := range leaves {
		r.macro("SH", strings.ToUpper(cmd.CommandPath()))
		r.bold(cmd.UseLine())
		r.macro("PP")
		r.prose(helpOf(cmd))
		r.macro("SS", "Flags")
		cmd.InitDefaultHelpFlag() // else it has none until it runs
		cmd.Flags().VisitAll(func(f *pflag.Flag) { r.flag(f) })
		if cmd.Example != "" {
			r.macro("SS", "Examples")
			r.verbatim(cmd.Example)
		}
	}
}

// commandsBelow returns the commands that do something, in the order of the help.
func commandsBelow(cmd *cobra.Command) (leaves []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		switch {
		case !sub.IsAvailableCommand():
		case sub.HasAvailableSubCommands():
			leaves = append(leaves, commandsBelow(sub)...)
		default:
			leaves = append(leaves, sub)
		}
	}
	return leaves
}

// helpOf returns what the help says above the usage.
func helpOf(cmd *cobra.Command) string {
	if cmd.Long == "" {
		return cmd.Short
	}
	return cmd.Long
}

// flag writes a flag as pflag does in the help, which knows when to name a
// default: the flag, three spaces, the text.
func (r *roff) flag(f *pflag.Flag) {
	if f.Hidden {
		return
	}
	var alone pflag.FlagSet
	alone.AddFlag(f)
	name, usage, _ := strings.Cut(strings.TrimSpace(alone.FlagUsages()), "   ")
	r.macro("TP")
	r.bold(name)
	r.line(usage)
}
