// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker"
)

const (
	childURL = "LOCKER_CONFORMANCE_CHILD"
	childTTL = "LOCKER_CONFORMANCE_CHILD_TTL"
)

// Child makes this process a client of the suite, if the suite has started it as
// one, and then does not return. The TestMain of a harness with a URL calls it
// first, before it starts a server.
func Child() {
	url := os.Getenv(childURL)
	if url == "" {
		return
	}
	ttl, err := time.ParseDuration(os.Getenv(childTTL))
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	client, err := locker.Open(context.Background(), url, &locker.Config{TTL: ttl})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	s := &servant{client: client}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(oneReply(s.do(strings.Fields(in.Text()))))
	}
	_ = client.Close()
	os.Exit(0)
}

// A servant is the client in the process of a Child.
type servant struct {
	client *locker.Client
	lease  *locker.Lease
}

func (s *servant) do(command []string) (reply string, err error) {
	ctx := context.Background()
	switch command[0] {
	case "lock":
		if s.lease, err = s.client.Lock(ctx, command[1]); err != nil {
			return "", err
		}
		return fmt.Sprint("held ", s.lease.Token()), nil
	case "err":
		switch err := s.lease.Err(); {
		case err == nil:
			return "live", nil
		case errors.Is(err, locker.ErrLost):
			return "lost", nil
		default:
			return "", err
		}
	case "unlock":
		return "unlocked", s.client.Unlock(ctx, s.lease)
	case "count":
		rounds, err := strconv.Atoi(command[3])
		for range rounds {
			err = errors.Join(err, s.count(ctx, command[1], command[2]))
		}
		return "counted", err
	}
	return "", fmt.Errorf("unknown command %q", command[0])
}

// count adds one to the number in a file, and a line with its token to another,
// while it holds the lock.
func (s *servant) count(ctx context.Context, name, file string) error {
	return locker.Do(ctx, s.client, name, func(ctx context.Context, lease *locker.Lease) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(text))
		if err != nil {
			return err
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
			return err
		}
		f, err := os.OpenFile(file+".tokens", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, lease.Token())
		return errors.Join(err, f.Close())
	})
}

func oneReply(reply string, err error) string {
	if err != nil {
		return "failed " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return reply
}

// A child is a process that the suite started.
type child struct {
	*probe
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

// child starts a process with a client of its own.
func (c *probe) child() *child {
	exe, err := os.Executable()
	if err != nil {
		c.Fatalf("%v", err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), childURL+"="+c.h.URL, childTTL+"="+c.ttl.String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		c.Fatalf("%v", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.Fatalf("%v", err)
	}
	if err := cmd.Start(); err != nil {
		c.Fatalf("start of another process: %v", err)
	}
	p := &child{c, cmd, in, make(chan string, 16)}
	go func() {
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	c.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line := p.reply(30 * time.Second); line != "ready" {
		c.Fatalf("a process that the suite started says %q, not ready: TestMain must call conformance.Child, and the test binary import the adapter of the URL", line)
	}
	return p
}

// ask sends a command; reply waits for its answer.
func (p *child) ask(command string) {
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		p.Fatalf("another process: %v", err)
	}
}

func (p *child) reply(within time.Duration) string {
	select {
	case line := <-p.lines:
		return line
	case <-time.After(within):
		p.late("another process did not answer within %v", within)
		return ""
	}
}

func (p *child) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
