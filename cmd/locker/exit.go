// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/golocker/locker"
)

// Exit statuses of locker's own: those of sysexits.h and of the shell.
const (
	exitFailed      = 1 // of commands other than run
	exitUsage       = 64
	exitUnavailable = 69
	exitLost        = 74
	exitHeld        = 75
	exitCannotRun   = 126
	exitNotFound    = 127
	exitSignal      = 128 // plus the signal's number
)

const exitTable = `Exit status:
  that of COMMAND, or
  64     usage: a wrong flag, name, TTL or URL
  69     the backend could not be reached, or refused
  74     the lock was lost while COMMAND ran, or locker's guardian process was
         killed, and COMMAND was ended
  75     another holds the lock (--no-wait, or --wait has passed)
  126    COMMAND cannot be run
  127    COMMAND was not found
  128+n  signal n ended COMMAND, or locker while it waited`

// An exit is the end of locker with a status other than 0. Where the status is
// the command's own there is no line to print.
type exit struct {
	status int
	line   string
}

func (e *exit) Error() string { return e.line }

func fail(status int, format string, args ...any) error {
	return &exit{status, fmt.Sprintf(format, args...)}
}

// outcome returns the status for the error of a command line and the line to
// print, if there is one. What is neither an exit nor about stdout is a complaint
// of the flag parser.
func outcome(err error) (status int, line string) {
	var e *exit
	var output *fs.PathError
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &e):
		return e.status, oneLine(e.line)
	case errors.As(err, &output):
		return exitFailed, oneLine(err.Error())
	}
	return exitUsage, oneLine(err.Error()) + "; see locker --help"
}

// oneLine makes one line, fit for a terminal, of a text that may have several.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return printable(strings.Join(lines, "; "))
}

// reason is an error without the operation and the names that package locker
// puts before it, for lines that say these themselves.
func reason(err error) error {
	var e *locker.Error
	for errors.As(err, &e) {
		err = e.Err
	}
	return err
}
