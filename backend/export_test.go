// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "time"

// Suspend makes Now believe that the machine slept for d.
func Suspend(d time.Duration) { slept.Add(int64(d)) }
