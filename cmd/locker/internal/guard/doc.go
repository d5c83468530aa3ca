// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package guard is the process that ends a command's group when locker itself
// can't, because it was killed or is stopped. It is locker's own program with
// another argument, and does its work before the rest of the program is
// initialized: so it starts sooner and takes less memory. For that it imports
// little, and no other package of this module.
package guard
