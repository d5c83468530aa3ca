// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A Target is what a URL says, taken apart and checked. Printing one shows no
// secret.
type Target struct {
	Scheme   string
	User     string
	Password Secret
	Hosts    []string      // host, host:port, [ipv6] or [ipv6]:port, in the URL's order
	Path     string        // decoded; empty or with its leading slash
	Query    url.Values    // without ttl; each key once
	TTL      time.Duration // of the URL, else of the caller; zero if neither gave one
	Logger   *slog.Logger
}

// A Secret is a string that does not print itself.
type Secret string

// Reveal returns the secret.
func (s Secret) Reveal() string { return string(s) }

// String returns a fixed text if there is a secret, else nothing.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "xxxxx"
}

// Format prints what String returns, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText returns what String returns.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// ParseTarget takes a URL of the form
//
//	scheme://user:password@host1:1,[::1]:2/path?key=value&ttl=30s
//
// apart. The authority may name several hosts. Its errors quote nothing that
// may hold a password.
func ParseTarget(rawURL string) (Target, error) {
	var t Target
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok || !isScheme(scheme) {
		return t, errors.New("backend URL must begin with a scheme and ://, as in file:///var/lib/locks")
	}
	t.Scheme = strings.ToLower(scheme)
	if err := t.parseRest(rest); err != nil {
		return Target{}, fmt.Errorf("%s URL: %w", t.Scheme, err)
	}
	return t, nil
}

func (t *Target) parseRest(rest string) error {
	switch {
	case strings.ContainsFunc(rest, unicode.IsControl):
		return errors.New("a control character is not allowed, such as the newline at the end of a file; percent-encode one that belongs there")
	case strings.HasSuffix(rest, " "):
		return errors.New("a space at its end is not allowed; write %20 for one that belongs there")
	}
	if strings.Contains(rest, "#") {
		return errors.New("a # is not allowed; write %23 where it belongs to a user, password or path")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(query, "@") && !strings.Contains(authority, "@") {
		return errors.New("an @ follows the first question mark; write %3F for a question mark in a user or password, and %40 for an @ in a parameter")
	}
	if strings.Contains(path, "@") && !strings.Contains(authority, "@") {
		return errors.New("an @ follows the first slash; write %2F for a slash in a user or password, and %40 for an @ in a path")
	}

	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		u, err1 := url.PathUnescape(user)
		p, err2 := url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return errors.New("the user or password has an invalid percent-encoding; write %25 for a percent sign")
		}
		t.User, t.Password, hosts = u, Secret(p), authority[i+1:]
	}
	var err error
	if t.Hosts, err = splitHosts(hosts); err != nil {
		return err
	}
	if t.Path, err = url.PathUnescape(path); err != nil || strings.ContainsRune(t.Path, 0) {
		return errors.New("the path has an invalid percent-encoding; write %25 for a percent sign")
	}
	return t.parseQuery(query)
}

func (t *Target) parseQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters have an invalid percent-encoding or a semicolon")
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if n := len(values[key]); n > 1 {
			return fmt.Errorf("parameter %q is given %d times", key, n)
		}
	}
	if values.Has("ttl") {
		t.TTL, err = time.ParseDuration(values.Get("ttl"))
		if err != nil || t.TTL <= 0 {
			return fmt.Errorf("parameter ttl must be a positive duration such as 30s, not %q", values.Get("ttl"))
		}
		values.Del("ttl")
	}
	t.Query = values
	return nil
}

// splitHosts checks a comma-separated list of hosts. Its errors give a host's
// place, not its text: a password with a slash in it ends up here.
func splitHosts(list string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	hosts := strings.Split(list, ",")
	for i, h := range hosts {
		if !validHost(h) {
			return nil, fmt.Errorf("host %d of %d is not host, host:port or [ipv6]:port; percent-encode special characters in a user or password", i+1, len(hosts))
		}
	}
	return hosts, nil
}

func validHost(hostport string) bool {
	host := hostport
	var port string
	switch {
	case strings.HasPrefix(hostport, "["):
		end := strings.IndexByte(hostport, ']')
		if end < 0 {
			return false
		}
		addr, _, _ := strings.Cut(hostport[1:end], "%") // a zone
		if ip := net.ParseIP(addr); ip == nil || ip.To4() != nil && !strings.Contains(addr, ":") {
			return false
		}
		host, port = hostport[1:end], hostport[end+1:]
		if port == "" {
			return true
		}
		if !strings.HasPrefix(port, ":") {
			return false
		}
		port = port[1:]
	case strings.Contains(hostport, ":"):
		host, port, _ = strings.Cut(hostport, ":")
	default:
		return isHostname(host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && (strings.HasPrefix(hostport, "[") || isHostname(host))
}

func isHostname(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"%/:<>?@[\]^{|}`+"`", c) >= 0 {
			return false
		}
	}
	return true
}

func isScheme(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}
