// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package file takes locks between the processes of one machine, with nothing
// installed: one lock file per name in a directory, locked with flock(2).
//
// # URL
//
//	file:///var/lib/myapp/locks?ttl=30s
//
// The path is the directory, always absolute. It is created with mode 0700 if
// it is missing. There are no parameters but ttl.
//
// # Recipe
//
// A name's lock file is <SHA-256 of the name in hex>.lock ([Backend.Path]), so
// that no name, however odd, leaves the directory and case-insensitive disks
// keep names apart. Lock opens the file and tries flock(2), exclusive, without
// waiting: every Lock has an open file description of its own, so that
// goroutines and Backends of one process exclude each other as processes do.
// With the lock in hand it looks whether the path still names the file that it
// has locked, for a file that was removed in between excludes nobody, and tries
// again with the new one if not.
//
// The holder then writes its token, the larger of the last one plus 1 and the
// time in microseconds, and syncs it to the disk before the lock is granted.
// The file holds the last two tokens, each with a checksum, and a grant
// overwrites the older: whatever a crash or a full disk leaves of the write,
// the file gives the old token or the new one. Beside them stand the name, the
// note and the time of the grant, for people. A file with anything else in it
// is refused.
//
// Unlock releases with LOCK_UN, which frees the lock even where a child that is
// just being started has the descriptor too. The lock file stays, for the token
// in it; removing one that is in use breaks its lock.
//
// Waiting is polling: flock(2) can neither be waited for with a context nor
// wake a waiter in its turn. Info.Poll says how often.
//
// # Guarantees
//
// The kernel releases the lock when its holder dies, however it dies, and not
// before: there is no expiry. A paused or suspended holder keeps the lock and
// still has it when it goes on. Grant.Until is zero, and the TTL only sets how
// often Renew looks whether the lock file is still the one that was locked. If
// somebody removed or replaced it, the holder is told that its lock is lost;
// until then, up to TTL/3, another may hold it too, with a larger token.
//
// Tokens grow as long as the lock file lives, whatever the clock does. If it is
// removed, emptied or cut short, they grow as long as the clock was not set back.
//
// Who waits is not served in order. Info.Reclaim counts from the holder's death
// and does not depend on the TTL.
//
// # Limits
//
//   - One machine. On NFS, SMB and other network filesystems flock(2) may
//     exclude the processes of one machine only, or nobody, or lose the lock
//     with a connection: do not use them.
//   - One user. Lock files have mode 0600 and the directory 0700: another user
//     is refused, and the locks of two users in two directories do not exclude
//     each other.
//   - Keep the directory away from cleaners (/tmp, $XDG_RUNTIME_DIR):
//     [DefaultDir] is $XDG_STATE_HOME/locker.
//   - Calls into the filesystem cannot be interrupted: on a disk that hangs,
//     Lock hangs, and the Client answers its caller alone.
//   - Inspect works where the kernel can be asked without taking the lock: on
//     Linux, macOS and the BSDs. Elsewhere it returns errors.ErrUnsupported.
//   - Windows uses LockFileEx. Systems without either lock refuse every Lock
//     with errors.ErrUnsupported.
//
// # Sharing with native clients
//
// flock(1), and whatever else uses flock(2) on the file that [Backend.Path]
// names, excludes us, and we it:
//
//	flock "/var/lib/myapp/locks/$(printf %s NAME | sha256sum | cut -c-64).lock" COMMAND
//
// It may create the file, but must not write to it or remove it. Such a holder
// has no token and leaves no note. On Linux Inspect does not see it; elsewhere
// it shows the note of the last holder of ours.
package file
