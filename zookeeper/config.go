// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package zookeeper

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

const (
	openTimeout = 5 * time.Second
	defaultTick = 2 * time.Second // of ZooKeeper
	leastTick   = 50 * time.Millisecond
	longestTick = time.Minute
)

var tickParam = backend.Param{Name: "tick", Help: "the servers' tickTime (default: 2s); the TTL is three of it at least"}

func (c *Config) check() error {
	if len(c.Servers) == 0 {
		return errors.New("zookeeper: no servers are given")
	}
	if (c.User == "") != (c.Password == "") {
		return errors.New("a user and a password go together")
	}
	if strings.Contains(c.User, ":") {
		return errors.New("zookeeper: the user must not contain a colon")
	}
	if c.Tick != 0 && (c.Tick < leastTick || c.Tick > longestTick) {
		return fmt.Errorf("zookeeper: the tick must be %v to %v, or 0 for %v", leastTick, longestTick, defaultTick)
	}
	if !validRoot(c.Chroot) {
		return fmt.Errorf("zookeeper: the chroot %q must be empty or a path such as /app/locks", c.Chroot)
	}
	return nil
}

// validRoot says whether ZooKeeper takes a path, or nothing.
func validRoot(root string) bool {
	if root == "" || root == "/" {
		return true
	}
	if root[0] != '/' || !utf8.ValidString(root) || strings.ContainsFunc(root, unprintable) {
		return false
	}
	for part := range strings.SplitSeq(root[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// unprintable are the characters that ZooKeeper refuses, and a few others.
func unprintable(r rune) bool { return !unicode.IsPrint(r) || r >= '\uf000' && r <= '\uffff' }

// settings is what a URL says.
type settings struct {
	Config
	files tlsfiles.Files
	tls   *tls.Config // nil: no TLS
}

// parse turns a target into settings. It does no I/O.
func parse(t backend.Target) (settings, error) {
	s := settings{Config: Config{
		Chroot: rootOf(t.Path), User: t.User, Password: t.Password, Logger: t.Logger,
	}}
	hosts := t.Hosts
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	for _, host := range hosts {
		s.Servers = append(s.Servers, withPort(host))
	}
	slices.Sort(s.Servers)
	s.Servers = slices.Compact(s.Servers)
	var err error
	if tick := t.Query.Get("tick"); tick != "" {
		if s.Tick, err = time.ParseDuration(tick); err != nil || s.Tick == 0 {
			return settings{}, fmt.Errorf("parameter tick: %q is not a duration such as 2s", tick)
		}
	}
	if t.Scheme == "zks" {
		if s.files, s.tls, err = tlsfiles.Parse(t.Query); err != nil {
			return settings{}, err
		}
	}
	return s, s.check()
}

// rootOf takes the slash off the end of a path. That of an empty name stays, and
// is refused.
func rootOf(path string) string {
	if path == "//" {
		return path
	}
	return strings.TrimSuffix(path, "/")
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "2181")
}
