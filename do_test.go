// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/memory"
)

// withMemory runs f in a bubble with a client of a memory backend.
func withMemory(t *testing.T, f func(*testing.T, *locker.Client, *memory.Backend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := memory.New()
		f(t, newClient(t, b), b)
	})
}

// wantFree checks that nobody holds x.
func wantFree(t *testing.T, l locker.Locker) {
	t.Helper()
	if st, err := locker.Inspect(t.Context(), l, "x"); err != nil || st.Held {
		t.Errorf("%+v, %v, want it free", st, err)
	}
}

// same says whether err is target itself, wrapped in nothing.
func same(err, target error) bool { return err == target } //nolint:errorlint // that is the point

var errWork = errors.New("the work failed")

func TestDoRunsUnderTheLock(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, b *memory.Backend) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, "value")
		var inside context.Context
		err := locker.Do(ctx, c, "x", func(ctx context.Context, lease *locker.Lease) error {
			inside = ctx
			if ctx.Value(key{}) != "value" || lease.Context().Value(key{}) != "value" {
				t.Error("the context's values are gone")
			}
			if st, _ := locker.Inspect(ctx, c, "x"); st.Token != lease.Token() || st.Note != "me" {
				t.Errorf("%+v", st)
			}
			return errWork
		}, locker.Note("me"))
		if !same(err, errWork) {
			t.Errorf("Do: %v", err)
		}
		if inside.Err() == nil {
			t.Error("fn's context outlives Do")
		}
		wantFree(t, c)
	})
}

func TestDoUnlocksOnPanic(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		func() {
			defer func() {
				if recover() != "boom" {
					t.Error("the panic did not pass through")
				}
			}()
			_ = locker.Do(t.Context(), c, "x", func(context.Context, *locker.Lease) error { panic("boom") })
		}()
		wantFree(t, c)
	})
}

func TestDoUnlocksOnGoexit(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		go func() {
			_ = locker.Do(t.Context(), c, "x", func(context.Context, *locker.Lease) error { runtime.Goexit(); return nil })
		}()
		synctest.Wait()
		wantFree(t, c)
	})
}

func TestDoTellsALoss(t *testing.T) {
	for name, work := range map[string]error{"fn succeeds": nil, "fn fails": errWork} {
		t.Run(name, func(t *testing.T) {
			withMemory(t, func(t *testing.T, c *locker.Client, b *memory.Backend) {
				err := locker.Do(t.Context(), c, "x", func(ctx context.Context, _ *locker.Lease) error {
					b.Break("x")
					<-ctx.Done()
					wantIs(t, "cause", context.Cause(ctx), locker.ErrLost)
					return work
				})
				wantIs(t, "Do", err, locker.ErrLost)
				if work != nil {
					wantIs(t, "Do", err, work)
				}
			})
		})
	}
}

// A fn that returns the loss itself does not have it told twice.
func TestDoTellsALossOnce(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, b *memory.Backend) {
		err := locker.Do(t.Context(), c, "x", func(ctx context.Context, lease *locker.Lease) error {
			b.Break("x")
			<-ctx.Done()
			return context.Cause(ctx)
		})
		wantIs(t, "Do", err, locker.ErrLost)
		if n := strings.Count(err.Error(), `hold "x"`); n != 1 {
			t.Errorf("told %d times: %v", n, err)
		}
	})
}

func TestDoTellsClose(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		err := locker.Do(t.Context(), c, "x", func(context.Context, *locker.Lease) error { return c.Close() })
		wantIs(t, "Do", err, locker.ErrUnlocked, locker.ErrClosed)
	})
}

// Whatever ends a lease of another Locker, other than an unlock, is told.
func TestDoTellsTheEndOfAnyLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, lose := context.WithCancelCause(t.Context())
		l := fixed{lease: locker.NewLease(ctx, "x", 1, nil)}
		err := locker.Do(t.Context(), l, "x", func(ctx context.Context, _ *locker.Lease) error {
			lose(errWork)
			<-ctx.Done()
			return nil
		})
		wantIs(t, "Do", err, errWork)
	})
}

// fixed is a Locker with one lease.
type fixed struct {
	locker.Locker
	lease *locker.Lease
}

func (f fixed) Lock(context.Context, string, ...locker.Option) (*locker.Lease, error) {
	return f.lease, nil
}
func (f fixed) Unlock(context.Context, *locker.Lease) error { return f.lease.Err() }

func TestDoAfterFnsOwnUnlock(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		if err := locker.Do(t.Context(), c, "x", func(ctx context.Context, lease *locker.Lease) error {
			return c.Unlock(ctx, lease)
		}); err != nil {
			t.Errorf("Do: %v", err)
		}
	})
}

// A cancelled ctx ends fn's context; the lock is unlocked all the same.
func TestDoUnlocksAfterCancel(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		ctx, cancel := context.WithCancel(t.Context())
		err := locker.Do(ctx, c, "x", func(ctx context.Context, lease *locker.Lease) error {
			cancel()
			<-ctx.Done()
			if lease.Err() != nil {
				t.Errorf("the lease ended with ctx: %v", lease.Err())
			}
			return ctx.Err()
		})
		if !same(err, context.Canceled) {
			t.Errorf("Do: %v", err)
		}
		wantFree(t, c)
	})
}

// Unlock finds the lock gone: told. Unlock is not acknowledged: not told.
func TestDoAndTheErrorOfUnlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newStub()
		c := newClient(t, b)
		nothing := func(context.Context, *locker.Lease) error { return nil }
		b.unlock = func(context.Context, *backend.Grant) error { return locker.ErrLost }
		wantIs(t, "Do, gone", locker.Do(t.Context(), c, "x", nothing), locker.ErrLost)
		b.Break("x")
		b.unlock = func(ctx context.Context, _ *backend.Grant) error { return silent(ctx) }
		if err := locker.Do(t.Context(), c, "x", nothing); err != nil {
			t.Errorf("Do, unanswered: %v", err)
		}
		elapse(time.Second)
		wantFree(t, c)
	})
}

func TestDoWithoutTheLock(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		mustLock(t, c, "x")
		err := locker.Do(t.Context(), c, "x", func(context.Context, *locker.Lease) error {
			t.Error("fn ran")
			return nil
		}, locker.NoWait())
		wantIs(t, "Do", err, locker.ErrLocked)
	})
}

func TestTryLock(t *testing.T) {
	withMemory(t, func(t *testing.T, c *locker.Client, _ *memory.Backend) {
		lease, ok, err := locker.TryLock(t.Context(), c, "x")
		if lease == nil || !ok || err != nil {
			t.Fatalf("free: %v, %v, %v", lease, ok, err)
		}
		start := backend.Now()
		if l, ok, err := locker.TryLock(t.Context(), c, "x"); l != nil || ok || err != nil {
			t.Errorf("held: %v, %v, %v", l, ok, err)
		}
		if took := backend.Now().Sub(start); took != 0 {
			t.Errorf("TryLock waited %v", took)
		}
		if l, ok, err := locker.TryLock(t.Context(), c, "x", locker.MaxWait(time.Second)); l != nil || ok || err != nil {
			t.Errorf("held, MaxWait: %v, %v, %v", l, ok, err)
		}
		if took := backend.Now().Sub(start); took != time.Second {
			t.Errorf("TryLock with MaxWait waited %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, ok, err := locker.TryLock(ctx, c, "y"); ok || !errors.Is(err, context.Canceled) {
			t.Errorf("ended ctx: %v, %v", ok, err)
		}
		opts := make([]locker.Option, 0, 4)
		_, _, _ = locker.TryLock(t.Context(), c, "x", opts...)
		if opts[:1][0] != nil {
			t.Error("TryLock wrote into the caller's options")
		}
		c.Close()
		if _, ok, err := locker.TryLock(t.Context(), c, "x"); ok || !errors.Is(err, locker.ErrClosed) {
			t.Errorf("closed: %v, %v", ok, err)
		}
	})
}
