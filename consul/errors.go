// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
)

// classify tells an error that is no answer from a refusal.
func classify(err error) error {
	if err == nil || errors.Is(err, backend.ErrLost) || errors.Is(err, backend.ErrUnavailable) {
		return err
	}
	if refused(err) {
		return readable{err}
	}
	return unavailable(readable{err})
}

// refused says whether an error is Consul's last word, or the network's. Consul
// answers 500 to whatever it has no other number for, such as having no leader.
func refused(err error) bool {
	var status api.StatusError
	if errors.As(err, &status) {
		again := status.Code >= http.StatusInternalServerError || status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
		return !again || strings.Contains(status.Body, "Invalid Session TTL")
	}
	return refusedTLS(err)
}

// refusedTLS says whether one of the two sides refused the other.
func refusedTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert *net.OpError // crypto/tls has no type of its own for it
	return errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert) && alert.Op == "remote error"
}

// isStatus says whether Consul answered with an HTTP status.
func isStatus(err error, code int) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == code
}

func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", backend.ErrUnavailable, err) }

func lost(why string) error { return fmt.Errorf("%w: %s", backend.ErrLost, why) }

// A readable is an error whose text is one line, and leaves out what nobody
// shall read: URLs, and owners, which are the last part of keys.
type readable struct{ error }

func (e readable) Unwrap() error { return e.error }

func (e readable) Error() string {
	err := e.error
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	return lastPart.ReplaceAllString(text, `/…"`)
}

// lastPart is the last part of a quoted key, in which a quote is escaped.
var lastPart = regexp.MustCompile(`/(\\.|[^/"\\])+"`)
