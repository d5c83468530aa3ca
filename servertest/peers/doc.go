// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package peers runs the stress runs of package stress over other lock libraries
// of Go, each used as its documentation says. Every one is known for something
// that goes wrong: the runs must find it, or they would not find it here.
//
// It says nothing about what those libraries are good for. What they do not
// promise, such as fencing tokens or a deadline of one's own, they do not keep
// here.
package peers
