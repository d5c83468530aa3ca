// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package conformance

import (
	"os"
	"syscall"
)

func stopProcess(p *os.Process) error     { return p.Signal(syscall.SIGSTOP) }
func continueProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
