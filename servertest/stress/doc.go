// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package stress lets processes fight for locks while things go wrong, and has
// package history judge what they saw.
//
// A run has three client processes with three threads each. They lock a few names,
// read and write what the locks protect, renew, hold, unlock, give up. Each talks
// to the store through a proxy of its own. A seed decides what they do and which
// [Fault] comes when, counted in operations: processes are paused and killed, the
// network loses, delays and cuts, the server is stopped, killed, restarted. At the
// end a last client looks whether anything is left in the way.
//
// What a lock protects is two registers, which the run keeps. One checks tokens:
// it must not lose an update, whatever happens. The other does not, and must lose
// some where holders are paused: a run that cannot show that has no teeth.
//
// The processes are the test binary itself, started again: its TestMain calls
// [Worker]. Any [Open] will do, so other lock libraries can be run as well.
package stress
