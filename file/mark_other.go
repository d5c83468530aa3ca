// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package file

import (
	"errors"
	"os"
)

func mark(*os.File)   {}
func unmark(*os.File) {}

func marked(*os.File) (bool, error) { return false, errors.ErrUnsupported }
