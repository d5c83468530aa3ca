// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package locker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/golocker/locker/backend"
)

// DefaultTTL is the time to live where neither Config nor the URL gives one.
const DefaultTTL = 30 * time.Second

// Config configures a Client. Its zero value, and a nil one, mean the defaults.
type Config struct {
	// TTL is how long a dead holder keeps others out: [DefaultTTL] if zero.
	// The backend's Info has the bounds. The URL's ttl wins over it.
	TTL time.Duration

	// Logger is slog.Default() if nil.
	Logger *slog.Logger
}

// A Client is a [Locker] on one backend. It is safe for concurrent use.
//
// It renews all leases it handed out from one goroutine, ends their Contexts
// when their deadline passes, and withdraws in the background what the store
// did not acknowledge. Its goroutines do not grow with the number of leases.
type Client struct {
	backend backend.Backend
	info    backend.Info
	ttl     time.Duration
	log     *slog.Logger

	closing context.Context // ends when Close begins; its cause is ErrClosed
	close   context.CancelCauseFunc
	calls   sync.WaitGroup // the keeper, and whatever is in Lock, Renew or Unlock of the backend

	mu     sync.Mutex
	closed bool
	held   map[*hold]struct{}

	keeper  keeper
	cleaner cleaner
	turns   turns
}

// Open opens the backend of a URL and returns a Client that closes it:
//
//	scheme://user:password@host1,host2/path?ttl=30s&key=value
//
// The package of the scheme's adapter must be imported. Where the backend has
// sessions, Open opens the one that the first Lock uses. ctx bounds Open alone.
func Open(ctx context.Context, rawURL string, cfg *Config) (*Client, error) {
	t, err := backend.ParseTarget(rawURL)
	if err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	full := cfg.withDefaults()
	if t.TTL == 0 {
		t.TTL = full.TTL
	}
	t.Logger = full.Logger
	b, err := backend.Open(ctx, t)
	if err != nil {
		return nil, &Error{Op: "open", Backend: t.Scheme, Err: err}
	}
	c, err := New(b, &Config{TTL: t.TTL, Logger: t.Logger})
	if err != nil {
		return nil, oneLine(err, b.Close())
	}
	return c, nil
}

// New returns a Client on b, which its Close closes. It does no I/O.
func New(b backend.Backend, cfg *Config) (*Client, error) {
	info, full := b.Info(), cfg.withDefaults()
	if err := check(info, full.TTL); err != nil {
		return nil, &Error{Op: "open", Backend: info.Name, Err: err}
	}
	c := &Client{
		backend: b,
		info:    info,
		ttl:     full.TTL,
		log:     full.Logger.With("backend", info.Name),
		held:    map[*hold]struct{}{},
	}
	c.closing, c.close = context.WithCancelCause(context.Background())
	c.keeper.start(c)
	c.cleaner.start(c)
	return c, nil
}

func (cfg *Config) withDefaults() Config {
	var full Config
	if cfg != nil {
		full = *cfg
	}
	if full.TTL == 0 {
		full.TTL = DefaultTTL
	}
	if full.Logger == nil {
		full.Logger = slog.Default()
	}
	return full
}

func check(info backend.Info, ttl time.Duration) error {
	switch {
	case info.Name == "" || info.Reclaim == nil:
		return errors.New("the backend's Info lacks Name or Reclaim")
	case info.Fair && info.Poll > 0:
		return errors.New("the backend's Info has both Fair and Poll, which exclude each other")
	}
	return info.CheckTTL(ttl)
}

// Info returns what the backend gives.
func (c *Client) Info() backend.Info { return c.info }

// TTL returns the time to live in force.
func (c *Client) TTL() time.Duration { return c.ttl }

// Close ends every lease, with ErrUnlocked, and every waiting Lock, with
// ErrClosed; then it unlocks, waits for withdrawals and closes the backend,
// within 10 s in all. The error says what could not be acknowledged in that
// time; the store frees it later, when it expires. A second Close is nil.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	holds := make([]*hold, 0, len(c.held))
	for h := range c.held {
		holds = append(holds, h)
		c.drop(h, fmt.Errorf("%w: %w", ErrUnlocked, ErrClosed))
	}
	c.mu.Unlock()
	c.close(ErrClosed)

	c.cleaner.hurry()
	for _, h := range holds {
		c.cleaner.add(h.grant)
	}
	deadline := time.NewTimer(closeWithin - backendCloseWithin)
	defer deadline.Stop()
	left := c.settle(deadline.C)
	err := c.closeBackend()
	if left != nil || err != nil {
		return &Error{Op: "close", Backend: c.info.Name, Err: oneLine(left, err)}
	}
	return nil
}

const (
	closeWithin        = 10 * time.Second
	backendCloseWithin = 3 * time.Second
)

// settle waits until no call is under way and nothing is left to withdraw, or
// until deadline. It then stops the cleaner.
func (c *Client) settle(deadline <-chan time.Time) error {
	idle := make(chan struct{})
	go func() {
		c.calls.Wait()
		c.cleaner.wait()
		close(idle)
	}()
	var busy error
	select {
	case <-idle:
	case <-deadline:
		busy = errors.New("a call to the backend, or to the logger, has not ended")
	}
	if n, last := c.cleaner.stop(); n > 0 {
		c.log.Warn("closed with locks that the store did not acknowledge", "count", n, "error", last)
		return oneLine(fmt.Errorf("the store did not acknowledge the end of %d locks, which expire by themselves", n), last)
	}
	return busy
}

func (c *Client) closeBackend() error {
	done := make(chan error, 1)
	go func() { done <- c.backend.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(backendCloseWithin):
		return fmt.Errorf("the backend did not close within %v", backendCloseWithin)
	}
}

func (c *Client) inspect(ctx context.Context, name string) (backend.State, error) {
	fail := func(err error) (backend.State, error) {
		return backend.State{}, &Error{Op: "inspect", Backend: c.info.Name, Name: name, Err: err}
	}
	if err := checkName(name); err != nil {
		return fail(err)
	}
	i, ok := backend.As[backend.Inspector](c.backend)
	if !ok {
		return fail(errors.ErrUnsupported)
	}
	state, err := i.Inspect(ctx, name)
	if err != nil {
		return fail(err)
	}
	return state, nil
}

// begin starts f in a goroutine that Close waits for, unless Close has begun.
func (c *Client) begin(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.calls.Go(f)
	return true
}
