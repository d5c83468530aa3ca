// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package main

import (
	"os"
	"syscall"
)

func dieWithParent(*syscall.SysProcAttr) {}

func selfPath() (string, error) { return os.Executable() }

// ended cannot tell without reaping: what is between the command's end and the
// guardian's stays a matter of microseconds.
func (c *command) ended() bool { return false }

func (c *command) stoppedOrWentOn() bool { return true }
