// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"strings"
	"testing"
)

func TestProtocols(t *testing.T) {
	t.Parallel()
	frame := func(kind byte, body string) string {
		return string([]byte{0, 0, byte(len(body)), kind, 0, 0, 0, 0, 1}) + body
	}
	pg := func(kind, body string) string { return kind + "\x00\x00\x00" + string(rune(4+len(body))) + body }
	for name, test := range map[string]struct {
		protocol Protocol
		stream   []string // its units
		requests int
	}{
		"resp":          {RESP, []string{"*1\r\n$4\r\nPING\r\n", "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "PING\r\n"}, 3},
		"resp binary":   {RESP, []string{"*2\r\n$4\r\nECHO\r\n$6\r\n*1\r\n$4\r\n", "*1\r\n$4\r\nPING\r\n"}, 2},
		"http":          {HTTP, []string{"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", "PUT /b HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", "GET /c HTTP/1.1\r\n\r\n"}, 3},
		"grpc":          {GRPC, []string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, ""), frame(1, "headers"), frame(0, "message"), frame(0, ""), frame(0, "another")}, 2},
		"zookeeper":     {ZooKeeper, []string{"\x00\x00\x00\x03abc", "\x00\x00\x00\x01d"}, 2},
		"postgres":      {Postgres, []string{pg("", "\x00\x03\x00\x00user"), pg("Q", "select 1"), pg("P", "x"), pg("E", "y"), pg("E", "z"), pg("S", "")}, 3},
		"postgres tls?": {Postgres, []string{pg("", "\x04\xd2\x16\x2f"), pg("", "\x00\x03\x00\x00user"), pg("Q", "q")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := strings.Join(test.stream, "")
			for _, step := range []int{1, 2, 3, 7, len(whole)} { // as the network may cut it
				units, requests := cutUp(t, test.protocol, whole, step)
				if strings.Join(units, "|") != strings.Join(test.stream, "|") || requests != test.requests {
					t.Errorf("in steps of %d: units %q, %d requests; want %q, %d", step, units, requests, test.stream, test.requests)
				}
			}
		})
	}
}

// Encrypted bytes are no error to the proxy, and must not be waited on for ever.
func TestProtocolsRejectTLS(t *testing.T) {
	t.Parallel()
	hello := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 random bytes follow")
	for name, protocol := range map[string]Protocol{"resp": RESP, "http": HTTP, "grpc": GRPC, "zookeeper": ZooKeeper, "postgres": Postgres} {
		if advance, _, err := protocol()(hello, false); err == nil {
			t.Errorf("%s: took a TLS greeting for %d bytes of its own", name, advance)
		}
	}
}

func cutUp(t *testing.T, protocol Protocol, whole string, step int) (units []string, requests int) {
	t.Helper()
	split := protocol()
	var rest []byte
	for len(whole) > 0 {
		n := min(step, len(whole))
		rest, whole = append(rest, whole[:n]...), whole[n:]
		for len(rest) > 0 {
			advance, token, err := split(rest, false)
			if err != nil {
				t.Fatal(err)
			}
			if advance == 0 {
				break
			}
			units = append(units, string(rest[:advance]))
			if token != nil {
				requests++
			}
			rest = rest[advance:]
		}
	}
	if len(rest) > 0 {
		t.Errorf("%q is left over", rest)
	}
	return units, requests
}
