// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"

	_ "github.com/golocker/locker/file" // the scheme
)

// File is a directory of lock files.
var File = Store{
	Name: "file",
	TTL:  4 * time.Second,
	URL:  func(dir string) string { return "file://" + dir },
	Limit: Limit{
		Pair: "flock, a write, fsync, and the release",
		OpenPair: func(_ context.Context, dir string) (func(context.Context) error, func(), error) {
			return func(context.Context) error {
				f, err := os.OpenFile(filepath.Join(dir, "pair"), os.O_CREATE|os.O_RDWR, 0o600)
				if err != nil {
					return err
				}
				fd := int(f.Fd())
				lock := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
				_, write := f.WriteAt([]byte("1234567890123456\n"), 0)
				sync := f.Sync()
				return errors.Join(lock, write, sync, unix.Flock(fd, unix.LOCK_UN), f.Close())
			}, func() {}, nil
		},
		Push:     "the release until a blocked flock returns",
		OpenPush: flockPush,
	},
	Peers: []Contestant{{
		Name: "gofrs/flock", Module: "github.com/gofrs/flock", Holds: 10_000,
		Lacks: "fencing tokens, and so the fsync; a wait that can be given up: it blocks a thread",
		Open: func(_ context.Context, dir string, _ time.Duration) (Client, error) {
			return flockClient(dir), nil
		},
	}},
}

func flockPush(_ context.Context, dir string) (func(context.Context) (time.Duration, error), func(), error) {
	var files [2]*os.File
	for i := range files {
		var err error
		if files[i], err = os.OpenFile(filepath.Join(dir, "push"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return nil, nil, err
		}
	}
	flock := func(f *os.File, how int) error {
		for {
			if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
				return err
			}
		}
	}
	if err := flock(files[0], unix.LOCK_EX); err != nil {
		return nil, nil, err
	}
	return func(context.Context) (time.Duration, error) {
			took, err := pushed(
				func() error { return flock(files[1], unix.LOCK_EX) },
				func() error { return flock(files[0], unix.LOCK_UN) })
			files[0], files[1] = files[1], files[0]
			return took, err
		}, func() {
			for _, f := range files {
				_ = f.Close()
			}
		}, nil
}

type flockClient string

func (flockClient) Close() error { return nil }

func (dir flockClient) Lock(_ context.Context, name string) (func() error, error) {
	l := flock.New(filepath.Join(string(dir), name))
	if err := l.Lock(); err != nil {
		return nil, err
	}
	return l.Close, nil
}
