// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/memory"
)

// The scheme faulty is a memory backend in which the calls named by a parameter
// fail: with "down" as if the store were gone, with "no" as if it refused, with
// "silent" they hang, and create the file mark first. Its drivers are talkative.
func init() {
	backend.Register(backend.Scheme{
		Name:   "faulty",
		Params: []backend.Param{{Name: "mark"}, {Name: "open"}, {Name: "lock"}, {Name: "renew"}, {Name: "unlock"}},
		Open: func(ctx context.Context, t backend.Target) (backend.Backend, error) {
			log.Print("chatter")
			slog.Error("chatter")
			t.Logger.Error("chatter")
			f := &faulty{Backend: memory.New(), fails: t.Query}
			return f, f.fail(ctx, "open")
		},
	})
}

type faulty struct {
	*memory.Backend
	fails interface{ Get(string) string }
}

func (f *faulty) fail(ctx context.Context, call string) error {
	switch f.fails.Get(call) {
	case "down":
		return fmt.Errorf("%w: connection\nrefused", backend.ErrUnavailable)
	case "no":
		return errors.New("wrong\npassword")
	case "silent":
		if mark := f.fails.Get("mark"); mark != "" {
			if err := os.WriteFile(mark, nil, 0o600); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, ctx.Err())
	}
	return nil
}

func (f *faulty) Lock(ctx context.Context, r backend.Request) (*backend.Grant, error) {
	if err := f.fail(ctx, "lock"); err != nil {
		return nil, err
	}
	return f.Backend.Lock(ctx, r)
}

func (f *faulty) Renew(ctx context.Context, grants []*backend.Grant) []backend.Renewal {
	if err := f.fail(ctx, "renew"); err != nil {
		renewals := make([]backend.Renewal, len(grants))
		for i := range renewals {
			renewals[i].Err = err
		}
		return renewals
	}
	return f.Backend.Renew(ctx, grants)
}

func (f *faulty) Unlock(ctx context.Context, g *backend.Grant) error {
	if err := f.fail(ctx, "unlock"); err != nil {
		return err
	}
	return f.Backend.Unlock(ctx, g)
}

func (f *faulty) Withdraw(ctx context.Context, g *backend.Grant) error {
	if err := f.fail(ctx, "unlock"); err != nil {
		return err
	}
	return f.Backend.Withdraw(ctx, g)
}

func TestUnreachable(t *testing.T) {
	for query, parts := range map[string][]string{
		"open=down":   {"cannot reach", "connection; refused"},
		"open=silent": {"cannot reach"},
		"open=no":     {"refused", "wrong; password"},
		"lock=down":   {"cannot reach", "connection; refused"},
		"lock=silent": {"cannot reach", "no answer"},
		"lock=no":     {"refused", "wrong; password"},
	} {
		for _, command := range []string{"run", "inspect"} {
			if command == "inspect" && strings.HasPrefix(query, "lock") {
				continue
			}
			t.Run(command+" "+query, func(t *testing.T) {
				t.Parallel()
				args := []string{command, "--backend", "faulty://u:secret@host1,host2/p?" + query, "x"}
				if command == "run" {
					args = append(args, "true")
				}
				start := time.Now()
				status, stdout, stderr := runLocker(t, t.TempDir(), args...)
				if status != exitUnavailable || stdout != "" {
					t.Errorf("status %d, stdout %q", status, stdout)
				}
				wantLine(t, stderr, append(parts, "faulty://host1,host2/p", "--backend", "LOCKER_URL")...)
				if strings.Contains(stderr, "secret") {
					t.Errorf("stderr %q tells a secret", stderr)
				}
				if took := time.Since(start); took > 25*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

// A run without trouble is silent, whatever the drivers have to say.
func TestSilence(t *testing.T) {
	status, stdout, stderr := runLocker(t, t.TempDir(), "run", "--backend", "faulty://", "x", "true")
	if status != 0 || stdout != "" || stderr != "" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

// The command keeps its status if only the release fails.
func TestReleaseFails(t *testing.T) {
	for _, status := range []int{0, 5} {
		got, _, stderr := runLocker(t, t.TempDir(), "run", "--ttl", "2s", "--backend", "faulty://?unlock=no", "x", "sh", "-c", fmt.Sprint("exit ", status))
		if got != status {
			t.Errorf("status %d, want %d", got, status)
		}
		wantLine(t, stderr, `"x"`, "release", "faulty://", "2s")
	}
}

// CMD2, all of it: the store is gone, and the group ends before the store may
// give the lock to another, whatever it does with SIGTERM.
func TestLossOfTheStore(t *testing.T) {
	const ttl = 6 * time.Second
	for name, ends := range map[string]string{"on SIGTERM": "; exit 0", "never": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := `exec 2>/dev/null; trap "echo told` + ends + `" TERM; while :; do echo alive; sleep 0.05; done`
			c := newCall(t, t.TempDir(), "run", "--backend", "faulty://?renew=down&unlock=silent", "--ttl", ttl.String(), "x", "sh", "-c", script)
			c.Stdout = nil
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now() // the grant is later
			c.start()
			var told, last time.Duration
			for lines := bufio.NewScanner(out); lines.Scan(); {
				last = time.Since(start)
				if lines.Text() == "told" {
					told = last
				}
			}
			ended := time.Since(start) // of locker

			lease := ttl - backend.Margin(ttl)
			if least := lease - ttl/6; told < least || told > least+3*time.Second {
				t.Errorf("SIGTERM after %v, want %v or a little later", told, least)
			}
			if (last > told) != (ends == "") || last > lease+3*time.Second {
				t.Errorf("the last sign of life after %v, SIGTERM after %v", last, told)
			}
			if status := c.status(); status != exitLost {
				t.Errorf("status %d, want %d", status, exitLost)
			}
			wantLine(t, c.stderr.String(), "lost", "faulty://", "not renewed in time")
			if ended > last+15*time.Second {
				t.Errorf("locker ended %v after the command", ended-last)
			}
		})
	}
}

// CMD4: a lease that is lost when the command is about to start.
func TestHazard_CMD4(t *testing.T) {
	ctx, lose := context.WithCancelCause(t.Context())
	lose(locker.ErrLost)
	r := &run{name: "x", command: []string{"touch", t.TempDir() + "/ran"}}
	path, err := findCommand("touch")
	if err != nil {
		t.Fatal(err)
	}
	client, err := locker.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = r.supervise(path, client, locker.NewLease(ctx, "x", 1, nil), make(chan os.Signal, 1))
	if status, line := outcome(err); status != exitLost || !strings.Contains(line, "before the command started") {
		t.Errorf("status %d, line %q", status, line)
	}
	if _, err := os.Stat(r.command[1]); err == nil {
		t.Error("the command ran")
	}
}

// A signal ends a wait for a store that says nothing too.
func TestSignalWhileTheStoreIsSilent(t *testing.T) {
	for _, query := range []string{"open=silent", "lock=silent"} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			mark := filepath.Join(t.TempDir(), "mark")
			c := newCall(t, t.TempDir(), "run", "--backend", "faulty://?"+query+"&mark="+mark, "x", "true").start()
			c.awaitFile(mark)
			sent := time.Now()
			if err := c.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if status := c.status(); status != 128+int(syscall.SIGINT) || c.stderr.Len() != 0 {
				t.Errorf("status %d, stderr %q", status, c.stderr.String())
			}
			if took := time.Since(sent); took > 8*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
