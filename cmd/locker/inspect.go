// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

func newInspect() *cobra.Command {
	var s store
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] NAME",
		Short: "Print who holds a lock",
		Long: `Print who holds the lock NAME: the note of its holder, the fencing token, since
when, and how many wait, as far as the backend can tell. Nothing is changed, and
what is printed may be over by the time it is read.`,
		Example: `  locker inspect backup
  locker inspect --json backup | jq -r .note`,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fail(exitUsage, "inspect needs one NAME; see locker inspect --help")
			}
			if err := checkName(args[0]); err != nil {
				return err
			}
			state, err := s.inspect(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), args[0], state)
			}
			return writeText(cmd.OutOrStdout(), args[0], state)
		},
	}
	s.addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// askWithin bounds the question.
const askWithin = 5 * time.Second

func (s *store) inspect(name string) (backend.State, error) {
	client, err := s.open(context.Background())
	if err != nil {
		return backend.State{}, err
	}
	defer func() { _ = client.Close() }() // it holds nothing
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	state, err := locker.Inspect(ctx, client, name)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return state, fail(exitUnavailable, "%s cannot tell who holds a lock", s.address())
	case err != nil:
		return state, s.failure(err)
	}
	return state, nil
}

func writeText(w io.Writer, name string, state backend.State) error {
	if !state.Held {
		_, err := fmt.Fprintf(w, "%q is free\n", name)
		return err
	}
	text := fmt.Sprintf("%q is held\n", name)
	if state.Note != "" {
		text += fmt.Sprintf("  by       %s\n", printable(state.Note))
	}
	if !state.Since.IsZero() {
		ago := max(0, backend.Now().Sub(state.Since)).Truncate(time.Second)
		text += fmt.Sprintf("  since    %s (%v)\n", state.Since.Local().Format(time.DateTime), ago)
	}
	if state.Token != 0 {
		text += fmt.Sprintf("  token    %d\n", state.Token)
	}
	if state.Waiters >= 0 {
		text += fmt.Sprintf("  waiters  %d\n", state.Waiters)
	}
	_, err := io.WriteString(w, text)
	return err
}

// writeJSON leaves out what the backend cannot tell.
func writeJSON(w io.Writer, name string, state backend.State) error {
	out := struct {
		Name    string     `json:"name"`
		Held    bool       `json:"held"`
		Note    string     `json:"note,omitempty"`
		Token   int64      `json:"token,omitempty"`
		Since   *time.Time `json:"since,omitempty"`
		Waiters *int       `json:"waiters,omitempty"`
	}{Name: name, Held: state.Held, Note: state.Note, Token: state.Token}
	if !state.Since.IsZero() {
		out.Since = &state.Since
	}
	if state.Waiters >= 0 {
		out.Waiters = &state.Waiters
	}
	return json.NewEncoder(w).Encode(out)
}
