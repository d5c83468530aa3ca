// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package stress

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/golocker/locker/servertest/history"
)

// A client is a process of a run, and those that take its place after a kill.
type client struct {
	settings
	command []string
	log     string // file for what it prints
	heard   func(history.Event)

	mu      sync.Mutex
	process *os.Process   // of the present incarnation; nil: none
	life    io.Closer     // its stdin: ends with this process, and the client with it
	over    chan struct{} // closed when it has ended and its events were heard
	err     error         // of its end; valid then
}

func newClient(s settings, command []string, dir string, heard func(history.Event)) *client {
	return &client{settings: s, command: command, log: filepath.Join(dir, s.Client+".log"), heard: heard}
}

// start begins another incarnation.
func (c *client) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Incarnation++
	text, err := json.Marshal(c.settings)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	events, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = theirs.Close() }()
	cmd := exec.Command(c.command[0], c.command[1:]...)
	cmd.Env = append(os.Environ(), workerVar+"="+string(text))
	cmd.Stdout, cmd.Stderr = log, log
	if c.life, err = cmd.StdinPipe(); err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		_ = events.Close()
		return fmt.Errorf("start a client: %w", err)
	}
	c.process, c.over = cmd.Process, make(chan struct{})
	over := c.over
	go func() {
		defer close(over)
		heardErr := c.hear(events)
		err := errors.Join(cmd.Wait(), heardErr)
		c.mu.Lock()
		c.process, c.err = nil, err
		c.mu.Unlock()
	}()
	return nil
}

// hear reads the events of an incarnation. A torn last one is left out.
func (c *client) hear(events io.ReadCloser) error {
	defer func() { _ = events.Close() }()
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var e history.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("an event of %s: %w", c.Client, err)
		}
		c.heard(e)
	}
}

// signal sends a signal to the present incarnation, if there is one.
func (c *client) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process != nil {
		_ = c.process.Signal(s) // it has just ended
	}
}

// kill ends the present incarnation as kill -9 does, and returns after its death.
func (c *client) kill() {
	c.signal(syscall.SIGKILL)
	<-c.ended()
}

// failure is what was wrong with the end of the last incarnation.
func (c *client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// ended is closed when the present incarnation has ended.
func (c *client) ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over == nil {
		never := make(chan struct{})
		close(never)
		return never
	}
	return c.over
}
