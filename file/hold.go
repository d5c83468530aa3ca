// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"github.com/golocker/locker/backend"
)

// maxReplaced bounds how often a Lock starts again because the lock file was
// removed between its opening and its locking.
const maxReplaced = 10

// A hold is a lock file that this process has locked.
type hold struct {
	path string
	file *os.File
}

// acquire locks the file at path, which it creates if it is missing.
func (b *Backend) acquire(path string) (*hold, error) {
	for range maxReplaced {
		f, err := b.open(path)
		if err != nil {
			return nil, err
		}
		h, err := lockOpen(path, f)
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		if err = h.check(); err == nil {
			return h, nil
		}
		if err2 := h.release(); err2 != nil || !errors.Is(err, backend.ErrLost) {
			return nil, errors.Join(err, err2)
		}
	}
	return nil, fmt.Errorf("somebody removes the lock file %s all the time", path)
}

func (b *Backend) open(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | noFollow // and O_CLOEXEC, as ever in Go
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(b.dir, 0o700); err != nil {
			return nil, fmt.Errorf("directory %s of the lock files: %w", b.dir, err)
		}
		f, err = os.OpenFile(path, flags, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	return f, nil
}

func lockOpen(path string, f *os.File) (*hold, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("lock file %s is not a regular file", path)
	}
	ok, err := tryLock(f)
	if err != nil {
		return nil, fmt.Errorf("flock does not work on %s: %w", path, err)
	}
	if !ok {
		return nil, backend.ErrLocked
	}
	return &hold{path: path, file: f}, nil
}

// check returns an error that wraps ErrLost if the path no longer names the
// file that is locked: another may have locked the new one. The inode of that is
// not reused while it is open.
func (h *hold) check() error {
	locked, err := h.file.Stat()
	if err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	now, err := os.Lstat(h.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: somebody removed the lock file %s", backend.ErrLost, h.path)
	case err != nil:
		return fmt.Errorf("lock file: %w", err)
	case !os.SameFile(locked, now):
		return fmt.Errorf("%w: somebody replaced the lock file %s", backend.ErrLost, h.path)
	}
	return nil
}

// writeGrant puts a new token into the file and returns it when it is on disk.
func (h *hold) writeGrant(name, note string) (int64, error) {
	old, err := readRecord(h.file)
	if err != nil {
		return 0, fmt.Errorf("lock file %s: %w", h.path, err)
	}
	last := old.last()
	if last == math.MaxInt64 {
		return 0, fmt.Errorf("lock file %s: its token cannot grow any more", h.path)
	}

	since := wallClock()
	token := max(last+1, since.UnixMicro())
	content := old.next(grantRecord{Token: token, Since: since, Name: name, Note: note}).bytes()
	if _, err := h.file.WriteAt(content, 0); err != nil {
		return 0, fmt.Errorf("lock file: %w", err)
	}
	if err := h.file.Truncate(int64(len(content))); err != nil {
		return 0, fmt.Errorf("lock file: %w", err)
	}
	if err := h.file.Sync(); err != nil {
		return 0, fmt.Errorf("lock file: %w", err)
	}
	if last == 0 { // the directory has not known the file for long
		dir := filepath.Dir(h.path)
		if err := syncDir(dir); err != nil {
			return 0, fmt.Errorf("directory %s of the lock files: %w", dir, err)
		}
	}
	mark(h.file)
	return token, nil
}

func readRecord(f *os.File) (record, error) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, maxRecord))
	if err != nil {
		return record{}, err
	}
	return parse(data)
}

// release frees the lock for those too who have a copy of the descriptor: a
// child between its fork and its exec has one.
func (h *hold) release() error {
	unmark(h.file)
	return errors.Join(unlock(h.file), h.file.Close())
}
