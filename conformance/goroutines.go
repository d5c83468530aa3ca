// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"fmt"
	"regexp"
	"runtime/pprof"
	"strconv"
	"strings"
)

// goroutineLabel is the profiler label that marks the goroutines of a check:
// each goroutine inherits it from the one that started it.
const goroutineLabel = "conformance"

var goroutineCount = regexp.MustCompile(`^(\d+) @`)

// goroutines returns the stacks of the goroutines that come of an attempt.
func goroutines(tag string) string {
	text, _ := labelled(tag)
	return text
}

// countGoroutines counts them, the caller included.
func countGoroutines(tag string) int {
	_, n := labelled(tag)
	return n
}

func labelled(tag string) (text string, n int) {
	var all bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&all, 1); err != nil {
		return err.Error(), 0
	}
	_, stacks, _ := strings.Cut(all.String(), "\n") // after the line with the total
	var found []string
	for _, stack := range strings.Split(stacks, "\n\n") {
		if !strings.Contains(stack, fmt.Sprintf("%q:%q", goroutineLabel, tag)) {
			continue
		}
		found = append(found, stack)
		if m := goroutineCount.FindStringSubmatch(stack); m != nil {
			k, _ := strconv.Atoi(m[1])
			n += k
		}
	}
	return strings.Join(found, "\n\n"), n
}
