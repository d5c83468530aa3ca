// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/golocker/locker/backend"
)

// An exchange is given up after this long, whatever the client's time-outs.
const exchangeTimeout = 5 * time.Second

var errClosed = errors.New("the backend is closed")

// run runs fn, which talks to the server, and returns at the latest when ctx
// ends or after exchangeTimeout. A client that the application passed in may
// not heed its context, so fn may go on after that: run then returns an error,
// and late runs at the end of fn.
func (b *Backend) run(ctx context.Context, fn func(ctx context.Context), late func()) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	done := make(chan struct{})
	var over atomic.Bool // set by fn's end or by the end of waiting for it, whichever is first
	if !b.spawn(func() {
		defer cancel()
		fn(ctx)
		if over.CompareAndSwap(false, true) {
			close(done)
		} else {
			late()
		}
	}) {
		cancel()
		late()
		return errClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	if over.CompareAndSwap(false, true) {
		return fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	<-done
	return nil
}

// A fate is what an error says about the script that was sent.
type fate int

const (
	answered  fate = iota // no error
	refused               // the server's own word; nothing was done
	full                  // the server's memory was; nothing was done, and it may be otherwise soon
	halfway               // the script failed; what it did before stands
	postponed             // the server's own word for now; nothing was done
	unsent                // never reached the server
	unknown               // perhaps done, perhaps still to be done
)

func fateOf(err error) fate {
	var reply redis.Error
	var network *net.OpError
	var cert *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var own refusal
	switch {
	case err == nil:
		return answered
	case errors.As(err, &reply):
		text := strings.TrimPrefix(reply.Error(), "ERR ")
		for _, prefix := range []string{"TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY", "MOVED", "ASK", "BUSY", "NOREPLICAS", "max number of clients"} {
			if strings.HasPrefix(text, prefix) {
				return postponed
			}
		}
		if strings.Contains(text, "OOM command not allowed") { // the first write; later ones pass
			return full
		}
		if strings.Contains(text, "user_script") {
			return halfway
		}
		return refused
	case errors.As(err, &cert), errors.As(err, &plain), errors.As(err, &own), errors.Is(err, redis.ErrClosed), errors.Is(err, errClosed):
		return refused
	case errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted):
		return unsent
	case errors.As(err, &network) && network.Op == "dial":
		return unsent
	case errors.As(err, &network) && network.Op == "remote error": // a TLS alert
		return refused
	}
	return unknown
}

// unavailable says in the error that the store did not answer, where it did not.
func unavailable(err error) error {
	switch fateOf(err) {
	case answered, refused, full, halfway:
		return err
	}
	return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
}
