// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package main

import "runtime"

func (r *run) run() error {
	return fail(exitCannotRun, "run cannot keep its promises on %s, which has no process groups: a lost lock could not end all that COMMAND started", runtime.GOOS)
}
