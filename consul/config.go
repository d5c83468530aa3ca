// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"crypto/tls"
	"errors"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

// DefaultMaxWaiting is that of a Config.
const DefaultMaxWaiting = 64

// Config is how a Backend uses its client.
type Config struct {
	// Prefix precedes every key as it is; empty by default. It is printable,
	// has no slash at its beginning, and no empty part, "." or ".." between
	// its slashes. It must not be another client's prefix and the beginning
	// of a name.
	Prefix string

	// Datacenter, Namespace and Partition say where the keys and the session
	// are, in every request: the agent's, and the default ones, if empty.
	// Namespaces and partitions are those of Consul Enterprise; set them
	// here, since transactions do not heed those of the client.
	Datacenter, Namespace, Partition string

	// MaxWaiting bounds how many locks are waited for at a time, since each
	// takes a connection: [DefaultMaxWaiting] if zero. A Lock that would be
	// one too many fails, with an error that is not ErrLocked.
	MaxWaiting int

	// Renewals renews the session. It talks to the same Consul as the client
	// and should have a transport of its own, so that the client's other
	// connections never keep a renewal back. Nil: the client.
	Renewals *api.Client
}

func (c *Config) maxWaiting() int {
	if c.MaxWaiting == 0 {
		return DefaultMaxWaiting
	}
	return c.MaxWaiting
}

func (c *Config) check() error {
	if c.MaxWaiting < 0 {
		return errors.New("consul: MaxWaiting is negative")
	}
	if !utf8.ValidString(c.Prefix) || strings.ContainsFunc(c.Prefix, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("consul: the prefix must be printable UTF-8")
	}
	parts := strings.Split(c.Prefix, "/")
	for i, part := range parts {
		if part == "." || part == ".." || part == "" && i < len(parts)-1 {
			return errors.New("consul: the prefix must not begin with a slash, nor have an empty part, . or .. between its slashes: Consul would take it for another")
		}
	}
	return nil
}

// settings is what a URL says.
type settings struct {
	Config
	address string // host:port, or the path of a socket
	unix    bool
	Token   backend.Secret // exported, since only such a field hides itself when the struct is printed
	tls     *tls.Config
	files   tlsfiles.Files
}

var params = []backend.Param{
	{Name: "dc", Help: "the datacenter (default: the agent's)"},
	{Name: "namespace", Help: "the namespace, in Consul Enterprise"},
	{Name: "partition", Help: "the admin partition, in Consul Enterprise"},
	{Name: "max_waiting", Help: "how many locks may be waited for at a time (default: 64)"},
}

var prefixParam = backend.Param{Name: "prefix", Help: "what precedes every key (default: nothing)"}

// parse turns a target into settings. It does no I/O.
func parse(t backend.Target) (settings, error) {
	s := settings{Token: t.Password}
	s.Datacenter, s.Namespace, s.Partition = t.Query.Get("dc"), t.Query.Get("namespace"), t.Query.Get("partition")
	if t.User != "" {
		return s, errors.New("a user: there are only tokens, as in consul://:token@host")
	}
	if err := s.parsePlace(t); err != nil {
		return s, err
	}
	if t.Query.Has("max_waiting") {
		n, err := strconv.Atoi(t.Query.Get("max_waiting"))
		if err != nil || n <= 0 {
			return s, errors.New("parameter max_waiting must be a positive number")
		}
		s.MaxWaiting = n
	}
	return s, s.check()
}

// parsePlace takes the agent's address and the prefix.
func (s *settings) parsePlace(t backend.Target) error {
	if t.Scheme == "consul+unix" {
		if len(t.Hosts) > 0 || t.Path == "" || t.Path == "/" {
			return errors.New("the path of a socket must follow, as in consul+unix:///run/consul/http.sock")
		}
		s.unix, s.address, s.Prefix = true, t.Path, prefixOf(t.Query.Get("prefix"))
		return nil
	}
	s.Prefix = prefixOf(t.Path)
	port := "8500"
	if t.Scheme == "consuls" {
		port = "8501"
		var err error
		if s.files, s.tls, err = tlsfiles.Parse(t.Query); err != nil {
			return err
		}
	}
	hosts := t.Hosts
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	if len(hosts) > 1 {
		return errors.New("one host: that of the agent, which knows the servers")
	}
	s.address = withPort(hosts[0], port)
	return nil
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
