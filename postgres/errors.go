// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/golocker/locker/backend"
)

var (
	errClosed  = errors.New("the backend is closed")
	errGivenUp = fmt.Errorf("%w: the session was not extended in time, and is given up", backend.ErrUnavailable)
)

// The codes of errors that are treated by themselves.
const (
	codeCancelled        = "57014"
	codeAdminShutdown    = "57P01"
	codeCrashShutdown    = "57P02"
	codeCannotConnectNow = "57P03"
	codeTooMany          = "53300"
	codeOutOfMemory      = "53200"
	codeNoPrivilege      = "42501"
	codeNoSchema         = "3F000"
	codeReadOnly         = "25006"
	codeProtocol         = "08P01"
)

// codeOf returns the code of the server's error in err, or nothing.
func codeOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// unavailable says that the server did not answer, and why.
func unavailable(err error) error {
	if errors.Is(err, backend.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}

// connectError tells a server that did not answer from one that refused, and
// keeps the driver's error, which may have several lines, on one.
func connectError(err error) error {
	err = oneLine{err}
	var network net.Error
	switch codeOf(err) {
	case codeAdminShutdown, codeCrashShutdown, codeCannotConnectNow:
		return unavailable(err)
	case codeTooMany:
		return fmt.Errorf("the server has no connection left (max_connections, or the limit of the role or database): %w", err)
	case codeProtocol: // of a pooler that does not know a parameter
		return fmt.Errorf("%w: %w", errPooler, err)
	case "":
		if errors.As(err, &network) || errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			return unavailable(err)
		}
	}
	return err
}

// errPooler is the refusal of whatever stands between us and the server (P2).
var errPooler = errors.New("a connection pooler is in between, behind which an advisory lock belongs to nobody: give the address of the Postgres server itself")

// statementError adds to a server's refusal what to do about it.
func statementError(err error) error {
	if codeOf(err) == codeOutOfMemory {
		return fmt.Errorf("the server's lock table is full: raise max_locks_per_transaction, or hold fewer locks: %w", err)
	}
	return err
}

// oneLine is an error whose text is on one line.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }

func isLost(err error) bool { return errors.Is(err, backend.ErrLost) }
