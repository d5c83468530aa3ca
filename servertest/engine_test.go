// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"sync"
	"testing"

	"github.com/moby/moby/client"
)

// TestHangUpEndsNoOtherRequest removes servers side by side: each hangs up when
// it is done. An answer without a body, as a removal has, counts its connection
// as idle a moment before the asker has it.
func TestHangUpEndsNoOtherRequest(t *testing.T) {
	t.Parallel()
	needDocker(t)
	var group sync.WaitGroup
	for range 8 {
		engine, err := newEngine()
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for range 200 {
				// Forced, the removal of a volume that is not there succeeds.
				_, err := engine.VolumeRemove(t.Context(), "there-is-none", client.VolumeRemoveOptions{Force: true})
				if err != nil {
					t.Errorf("a removal, while other servers hang up: %v", err)
					return
				}
				hangUp(engine)
			}
		})
	}
	group.Wait()
}
