// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Command client is a client of a stress run, as a program of its own: one that
// can be built from sources that were changed, to see that the run finds out.
package main

import (
	"fmt"
	"os"

	"github.com/golocker/locker/servertest/stress"
)

func main() {
	stress.Worker(stress.OpenURL)
	fmt.Fprintln(os.Stderr, "client: it is started by a stress run alone")
	os.Exit(2)
}
