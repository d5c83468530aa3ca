// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
)

// What is no answer is told from a refusal, and the driver's error stays in the
// chain; its text shows neither URLs nor owners.
func TestClassify(t *testing.T) {
	const denied = `Permission denied: token with AccessorID 'x' lacks permission 'key:write' on "app/n/`
	for _, c := range []struct {
		err       error
		available bool
		text      string
	}{
		{api.StatusError{Code: 403, Body: "ACL not found"}, true, "Unexpected response code: 403 (ACL not found)"},
		{api.StatusError{Code: 403, Body: denied + `OWNER"`}, true, `Unexpected response code: 403 (` + denied + `…")`},
		{api.StatusError{Code: 403, Body: denied + `OW\"NER"`}, true, `Unexpected response code: 403 (` + denied + `…")`},
		{api.StatusError{Code: 400, Body: "Bad\nrequest"}, true, "Unexpected response code: 400 (Bad request)"},
		{api.StatusError{Code: 429, Body: "rate limit exceeded"}, false, "store unavailable: Unexpected response code: 429 (rate limit exceeded)"},
		{api.StatusError{Code: 500, Body: "No cluster leader"}, false, "store unavailable: Unexpected response code: 500 (No cluster leader)"},
		{api.StatusError{Code: 503}, false, "store unavailable: Unexpected response code: 503 ()"},
		{api.StatusError{Code: 500, Body: "Invalid Session TTL '1', must be between [20s=24h0m0s]"}, true, "Unexpected response code: 500 (Invalid Session TTL '1', must be between [20s=24h0m0s])"},
		{&url.Error{Op: "Put", URL: "http://h/v1/kv/app/n/OWNER", Err: io.ErrUnexpectedEOF}, false, "store unavailable: unexpected EOF"},
		{&url.Error{Op: "Put", URL: "http://h", Err: &tls.CertificateVerificationError{Err: io.EOF}}, true, "tls: failed to verify certificate: EOF"},
		{&url.Error{Op: "Put", URL: "http://h", Err: tls.RecordHeaderError{Msg: "not TLS"}}, true, "tls: not TLS"},
		{&url.Error{Op: "Put", URL: "http://h", Err: &net.OpError{Op: "remote error", Err: tls.AlertError(116)}}, true, "remote error: tls: certificate required"},
		{&url.Error{Op: "Put", URL: "http://h", Err: &net.OpError{Op: "read", Err: io.EOF}}, false, "store unavailable: read: EOF"},
		{context.DeadlineExceeded, false, "store unavailable: context deadline exceeded"},
		{lost("gone"), true, "lock lost: gone"},
		{unavailable(io.EOF), false, "store unavailable: EOF"},
	} {
		got := classify(c.err)
		if errors.Is(got, backend.ErrUnavailable) == c.available || !errors.Is(got, c.err) || got.Error() != c.text {
			t.Errorf("%v:\n got %v (unavailable: %t)\nwant %s", c.err, got, errors.Is(got, backend.ErrUnavailable), c.text)
		}
	}
	if classify(nil) != nil {
		t.Error("no error became one")
	}
}
