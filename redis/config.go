// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/tlsfiles"
)

// Config is how a Backend uses its client.
type Config struct {
	// Prefix precedes every key and channel. It is printable ASCII without
	// spaces; empty by default, so that the lock "x" is the key "x", as with
	// redsync and redislock. It must not be another client's prefix and the
	// beginning of a name.
	Prefix string

	// AllowEviction accepts a server that takes keys away when its memory is
	// full, locks among them, and one that does not tell.
	AllowEviction bool
}

func (c *Config) check() error {
	for _, r := range []byte(c.Prefix) {
		if r <= ' ' || r >= 0x7f {
			return errors.New("redis: the prefix must be printable ASCII without spaces")
		}
	}
	return nil
}

// settings is what a URL says.
type settings struct {
	Config
	options redis.UniversalOptions
	files   tlsfiles.Files
	tls     bool
}

var params = []backend.Param{
	{Name: "prefix", Help: "what precedes every key and channel (default: nothing)"},
	{Name: "sentinel", Help: "the name of the master; the hosts are its sentinels"},
	{Name: "cluster", Help: "true: the hosts are nodes of a Redis Cluster"},
	{Name: "allow_eviction", Help: "true: accept a server that may evict locks when its memory is full"},
}

var unixParams = []backend.Param{
	{Name: "prefix", Help: "what precedes every key and channel (default: nothing)"},
	{Name: "db", Help: "the number of the database (default: 0)"},
	{Name: "allow_eviction", Help: "true: accept a server that may evict locks when its memory is full"},
}

// parse turns a target into settings. It does no I/O.
func parse(t backend.Target) (settings, error) {
	s := settings{tls: t.Scheme == "rediss"}
	s.options = ownOptions()
	s.options.Username, s.options.Password = t.User, t.Password.Reveal()
	if t.User != "" && t.Password == "" {
		return s, errors.New("a user without a password; for the password of the default user write redis://:password@host")
	}
	s.Prefix = t.Query.Get("prefix")
	var err error
	if s.AllowEviction, err = boolean(t, "allow_eviction"); err != nil {
		return s, err
	}
	if err := s.check(); err != nil {
		return s, err
	}
	if t.Scheme == "redis+unix" {
		return s, s.parseUnix(t)
	}
	return s, s.parseHosts(t)
}

func (s *settings) parseUnix(t backend.Target) error {
	if len(t.Hosts) > 0 || t.Path == "" || t.Path == "/" {
		return errors.New("the path of a socket must follow, as in redis+unix:///run/redis/redis.sock")
	}
	s.options.Addrs = []string{t.Path} // go-redis takes an address with a leading slash for a socket
	return s.database(t.Query.Get("db"), "parameter db")
}

func (s *settings) parseHosts(t backend.Target) error {
	port := "6379"
	s.options.MasterName = t.Query.Get("sentinel")
	if t.Query.Has("sentinel") {
		if s.options.MasterName == "" {
			return errors.New("parameter sentinel needs the name of the master")
		}
		port = "26379"
	}
	cluster, err := boolean(t, "cluster")
	if err != nil {
		return err
	}
	s.options.IsClusterMode = cluster
	hosts := t.Hosts
	if len(hosts) == 0 {
		hosts = []string{"localhost"}
	}
	switch {
	case cluster && s.options.MasterName != "":
		return errors.New("parameters cluster and sentinel exclude each other")
	case len(hosts) > 1 && !cluster && s.options.MasterName == "":
		return errors.New("several hosts need sentinel=NAME or cluster=true")
	}
	for _, h := range hosts {
		s.options.Addrs = append(s.options.Addrs, withPort(h, port))
	}
	if err := s.database(strings.TrimPrefix(t.Path, "/"), "the path"); err != nil {
		return err
	}
	if cluster && s.options.DB != 0 {
		return errors.New("a cluster has only database 0")
	}
	if !s.tls {
		return nil
	}
	s.files, s.options.TLSConfig, err = tlsfiles.Parse(t.Query)
	return err
}

func (s *settings) database(number, where string) error {
	if number == "" {
		return nil
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return fmt.Errorf("%s must be the number of a database, such as 0", where)
	}
	s.options.DB = int(n)
	return nil
}

// ownOptions are those of clients that Open makes: they heed their contexts and
// send nothing twice, so the adapter knows what may still be on its way. The
// pool is small, since go-redis keeps what it once opened, and an exchange takes
// one round trip.
func ownOptions() redis.UniversalOptions {
	return redis.UniversalOptions{
		ContextTimeoutEnabled:    true,
		MaxRetries:               -1,
		DialerRetries:            1,
		PoolSize:                 3,
		PipelinePoolSize:         -1, // renewals use the same connections
		DialTimeout:              openTimeout,
		ReadTimeout:              exchangeTimeout,
		WriteTimeout:             exchangeTimeout,
		Protocol:                 2,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

func boolean(t backend.Target, name string) (bool, error) {
	if !t.Query.Has(name) {
		return false, nil
	}
	v, err := strconv.ParseBool(t.Query.Get(name))
	if err != nil {
		return false, fmt.Errorf("parameter %s must be true or false", name)
	}
	return v, nil
}

func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
