// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package servertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// ask sends one line and reads one.
func ask(ctx context.Context, d dialer, addr, question string) (string, error) {
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if _, err := io.WriteString(conn, question); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if errors.Is(err, io.EOF) && answer != "" {
		err = nil // a line that ends with the connection
	}
	return answer, err
}

// get returns the body of an answer with status 200.
func get(ctx context.Context, url string) (string, error) {
	return request(ctx, http.MethodGet, url)
}

func request(ctx context.Context, method, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	return do(r)
}

func do(r *http.Request) (string, error) {
	r.Close = true // an idle connection would look like a leak to a test
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s: %s", r.URL, response.Status, body)
	}
	return string(body), err
}
