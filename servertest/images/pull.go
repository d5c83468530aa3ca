// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// answerTimeout bounds the wait for a registry's first word: behind a
	// closed firewall it would be minutes.
	answerTimeout = 15 * time.Second
	pullTimeout   = 10 * time.Minute
)

// silent remembers the registries that did not answer: five servers must not
// wait for the same one five times.
var silent sync.Map

var errSilent = errors.New("the registry does not answer")

func pull(ctx context.Context, ref string) error {
	registry := registryOf(ref)
	if _, down := silent.Load(registry); down {
		return errSilent
	}
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", "pull", ref)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	giveUp := time.AfterFunc(answerTimeout, cancel)
	heard := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		heard = true
		giveUp.Stop()
	}
	if err := cmd.Wait(); err != nil {
		if !heard {
			silent.Store(registry, true)
		}
		return fmt.Errorf("pull %s: %w: %s", ref, err, strings.TrimSpace(complaint.String()))
	}
	return nil
}

// registryOf returns the part of an image's name that names a host, "" for
// Docker's own registry.
func registryOf(ref string) string {
	host, _, found := strings.Cut(ref, "/")
	if found && strings.ContainsAny(host, ".:") {
		return host
	}
	return ""
}
