// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Command images makes sure that the image of each server is there, pulling or
// building what is missing. Without arguments it does so for all servers.
//
//	go run ./cmd/images [server…]
//
// LOCKER_IMAGES=local forbids pulling; LOCKER_IMAGE_REDIS and its like name an
// image to use instead.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/golocker/locker/servertest/images"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	servers := os.Args[1:]
	if len(servers) == 0 {
		servers = images.Servers()
	}
	if _, err := images.Ensure(ctx, os.Stderr, servers...); err != nil {
		fmt.Fprintf(os.Stderr, "images: %v\n", err)
		os.Exit(1)
	}
}
