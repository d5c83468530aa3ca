// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/golocker/locker"
)

// How long the client may take to withdraw what is left and to close, where
// its own 10 s would be too long: after a signal the user waits, and a store
// that did not answer will not do so now.
const (
	closeWithin            = 10 * time.Second
	closeInterruptedWithin = 4 * time.Second
	closeUnansweredWithin  = time.Second
)

// run takes the lock, runs the command and releases the lock.
func (r *run) run() error {
	path, err := findCommand(r.command[0])
	if err != nil {
		return err
	}
	signals := listen()
	client, lease, err := r.acquire(signals)
	if err != nil {
		return err
	}
	end, err := r.supervise(path, client, lease, signals)
	return r.release(client, lease, end, err)
}

// acquire opens the backend and waits for the lock. A signal ends the wait. Its
// errors are exits.
func (r *run) acquire(signals <-chan os.Signal) (*locker.Client, *locker.Lease, error) {
	ctx, interrupted := untilSignal(signals)
	client, err := r.open(ctx)
	if err != nil {
		if sig := interrupted(); sig != 0 {
			err = &exit{status: exitSignal + int(sig)}
		}
		return nil, nil, err
	}
	line := r.showWaiting(ctx, client)
	lease, err := client.Lock(ctx, r.name, r.lockOptions()...)
	line.remove()

	within := closeWithin
	switch sig := interrupted(); {
	case sig != 0:
		within, err = closeInterruptedWithin, &exit{status: exitSignal + int(sig)}
	case err == nil:
		return client, lease, nil
	case errors.Is(err, locker.ErrLocked):
		err = r.held()
	default:
		if unanswered(err) {
			within = closeUnansweredWithin
		}
		err = r.failure(err)
	}
	closeClient(client, within)
	return nil, nil, err
}

// held is the exit if another has the lock.
func (r *run) held() error {
	after := ""
	if r.wait > 0 {
		after = " still, after " + r.wait.String()
	}
	return fail(r.heldExit, "another holds %q%s on %s; locker inspect tells more, --wait waits longer", r.name, after, r.address())
}

// release gives the lock back and says how locker ends. The command's end
// counts only if the lock was held to that end.
func (r *run) release(client *locker.Client, lease *locker.Lease, end ending, err error) error {
	unlockErr := client.Unlock(context.Background(), lease)
	closeClient(client, closeWithin)
	switch {
	case err != nil:
		return err
	case errors.Is(end.lost, errUnguarded):
		return fail(exitLost, "the command was ended, which held the lock %q on %s: %v", r.name, r.address(), end.lost)
	case end.lost != nil:
		return fail(exitLost, "the lock %q on %s was lost while the command ran, which was ended: %v", r.name, r.address(), reason(end.lost))
	case errors.Is(unlockErr, locker.ErrLost):
		return fail(exitLost, "the lock %q on %s was lost while the command ran: %v", r.name, r.address(), reason(unlockErr))
	case unlockErr != nil:
		return fail(end.exitStatus(), "cannot release %q on %s, which frees it when its TTL of %v has passed: %v", r.name, r.address(), client.TTL(), reason(unlockErr))
	}
	if status := end.exitStatus(); status != 0 {
		return &exit{status: status}
	}
	return nil
}

// closeClient waits for Close for a time. What is left expires by itself.
func closeClient(client *locker.Client, within time.Duration) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = client.Close() // it names what is left, which nobody here can help
	}()
	select {
	case <-closed:
	case <-time.After(within):
	}
}

// untilSignal returns a context that ends with the next signal. interrupted
// stops listening and returns that signal, or 0.
func untilSignal(signals <-chan os.Signal) (ctx context.Context, interrupted func() syscall.Signal) {
	ctx, cancel := context.WithCancel(context.Background())
	done, got := make(chan struct{}), make(chan syscall.Signal, 1)
	go func() {
		defer close(got)
		select {
		case sig := <-signals:
			got <- sig.(syscall.Signal)
			cancel()
		case <-done:
		}
	}()
	return ctx, func() syscall.Signal {
		close(done)
		defer cancel()
		return <-got
	}
}

// An ending is how the command ended.
type ending struct {
	status unix.WaitStatus
	lost   error // why the lock was lost before, if it was
}

func (e ending) exitStatus() int {
	if e.status.Signaled() {
		return exitSignal + int(e.status.Signal())
	}
	return e.status.ExitStatus()
}
