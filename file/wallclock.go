// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import "time"

// wallClock returns what the machine's clock shows, which tokens are made of.
// It is not backend.Now, which measures leases: that runs ahead by what this
// process slept through, a different time in each process. Once a lock file is
// removed, only the clock that all processes share keeps their tokens growing.
func wallClock() time.Time { return time.Now().UTC() }
