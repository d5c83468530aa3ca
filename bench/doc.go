// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package bench measures locker beside what people would use instead, and beside
// the limit: the store's own bare exchanges. It runs on one real server for each
// store, with all contestants in turn, so that ratios within one run are what
// counts.
//
// "make bench" runs it and writes docs/benchmarks. It is a module of its own, so
// that nobody inherits what it depends on.
package bench
