// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golocker/locker/backend"
)

// Defaults of a Config.
const (
	DefaultMaxWaiting  = 64
	DefaultSnapshotAge = 5 * time.Minute
)

// Config is how a Backend uses its database.
type Config struct {
	// Prefix keeps the locks of several applications in one database apart.
	// It is any text without a zero byte.
	Prefix string

	// Key, if set, gives the key of the advisory lock for a name, in place
	// of the hash of prefix and name: to share locks with those who call
	// pg_advisory_lock by themselves.
	Key func(name string) int64

	// MaxWaiting bounds the connections of locks that are waited for, or
	// that were waited for and are held: [DefaultMaxWaiting] if zero.
	MaxWaiting int

	// Sequence is what tokens come from, name or schema.name:
	// [DefaultSequence] if empty, found by the search_path. All who share
	// locks share the sequence.
	Sequence string

	// SnapshotAge is the longest time that one wait keeps one snapshot,
	// which holds back VACUUM: [DefaultSnapshotAge] if zero. After it the
	// wait begins anew, at the end of the server's queue.
	SnapshotAge time.Duration

	// NoRestartGrace grants locks at once after a restart of the server,
	// although a holder from before it may still be at work.
	NoRestartGrace bool
}

func (c *Config) sequence() string {
	if c.Sequence == "" {
		return DefaultSequence
	}
	return c.Sequence
}

func (c *Config) maxWaiting() int {
	if c.MaxWaiting == 0 {
		return DefaultMaxWaiting
	}
	return c.MaxWaiting
}

func (c *Config) snapshotAge() time.Duration {
	if c.SnapshotAge == 0 {
		return DefaultSnapshotAge
	}
	return c.SnapshotAge
}

func (c *Config) key(name string) int64 {
	if c.Key != nil {
		return c.Key(name)
	}
	return keyOf(c.Prefix, name)
}

func (c *Config) check() error {
	schema, name := splitSequence(c.sequence())
	switch {
	case strings.ContainsRune(c.Prefix, 0):
		return errors.New("the prefix holds a zero byte")
	case c.MaxWaiting < 0:
		return errors.New("MaxWaiting is negative")
	case c.SnapshotAge != 0 && c.SnapshotAge < time.Second:
		return errors.New("SnapshotAge is less than a second")
	case name == "" || strings.Contains(name, ".") || strings.ContainsRune(c.Sequence, 0) || strings.HasPrefix(c.Sequence, "."):
		return fmt.Errorf("the sequence must be name or schema.name, not %q", schema+"."+name)
	}
	return nil
}

// settings of a URL: how to connect, in libpq's words, and the Config.
type target struct {
	Config
	words    [][2]string // in order, without the password
	password string
	ttl      time.Duration
}

// driverParams are libpq's own words, passed on to the driver as they are.
var driverParams = []backend.Param{
	{Name: "application_name", Help: "shown in pg_stat_activity (default: locker)"},
	{Name: "connect_timeout", Help: "seconds for one host (at most 5 in all, which several hosts share)"},
	{Name: "host", Help: "directory of the server's Unix socket, where the URL names no host"},
	{Name: "port", Help: "number of the server's Unix socket (default: 5432)"},
	{Name: "search_path", Help: "where the sequence of tokens is looked for and created"},
	{Name: "sslcert", Help: "file with the client's certificate"},
	{Name: "sslkey", Help: "file with the client certificate's key"},
	{Name: "sslmode", Help: "disable, allow, prefer (default), require, verify-ca or verify-full"},
	{Name: "sslrootcert", Help: "file with the certificates that sign the server's"},
	{Name: "target_session_attrs", Help: "which of several hosts is taken (default: primary)"},
}

var ownParams = []backend.Param{
	{Name: "prefix", Help: "keeps the locks of several applications apart (default: nothing)"},
	{Name: "max_waiting", Help: "most connections for locks that are or were waited for (default: 64)"},
	{Name: "sequence", Help: "the sequence of tokens, name or schema.name (default: locker_token)"},
	{Name: "snapshot_age", Help: "longest time that a wait keeps its snapshot (default: 5m)"},
	{Name: "restart_grace", Help: "false: lock at once after a restart of the server (default: true)"},
}

// parse turns a target into what it says. It does no I/O.
func parse(t backend.Target) (target, error) {
	out := target{password: t.Password.Reveal(), ttl: t.TTL}
	if err := out.parseHosts(t); err != nil {
		return target{}, err
	}
	if strings.Contains(strings.TrimPrefix(t.Path, "/"), "/") {
		return target{}, errors.New("the path must be the name of a database; write %2F for a slash in it")
	}
	out.add("dbname", strings.TrimPrefix(t.Path, "/"))
	out.add("user", t.User)
	for _, p := range driverParams {
		if p.Name == "host" || p.Name == "port" || t.Query.Get(p.Name) == "" {
			continue
		}
		if err := checkWord(p.Name, t.Query.Get(p.Name)); err != nil {
			return target{}, err
		}
		out.add(p.Name, t.Query.Get(p.Name))
	}
	for _, w := range out.words {
		if strings.ContainsRune(w[1], 0) {
			return target{}, fmt.Errorf("%s holds a zero byte", w[0])
		}
	}
	if err := out.parseOwn(t); err != nil {
		return target{}, err
	}
	return out, out.check()
}

// choices are the values of those of libpq's words that have few.
var choices = map[string][]string{
	"sslmode":              {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"},
	"target_session_attrs": {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"},
}

// checkWord refuses what the driver would when it connects, which looks as if a
// server had refused it.
func checkWord(word, value string) error {
	if values := choices[word]; values != nil && !slices.Contains(values, value) {
		return fmt.Errorf("the parameter %s must be one of %s", word, strings.Join(values, ", "))
	}
	if _, err := strconv.ParseUint(value, 10, 31); word == "connect_timeout" && err != nil {
		return errors.New("the parameter connect_timeout must be a number of seconds")
	}
	return nil
}

func (out *target) add(word, value string) {
	if value != "" {
		out.words = append(out.words, [2]string{word, value})
	}
}

func (out *target) parseHosts(t backend.Target) error {
	socket := t.Query.Get("host")
	switch {
	case len(t.Hosts) > 0 && (t.Query.Has("host") || t.Query.Has("port")):
		return errors.New("the parameters host and port are for Unix sockets, where the URL itself names no host")
	case t.Query.Has("host") && !strings.HasPrefix(socket, "/"):
		return errors.New("the parameter host must be the directory of a Unix socket, such as /run/postgresql")
	case strings.Contains(socket, ","):
		return errors.New("the parameter host is one directory")
	}
	if p := t.Query.Get("port"); t.Query.Has("port") {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return errors.New("the parameter port must be a number")
		}
	}
	out.add("host", socket)
	out.add("port", t.Query.Get("port"))
	if len(t.Hosts) == 0 {
		return nil
	}
	hosts, ports := make([]string, len(t.Hosts)), make([]string, len(t.Hosts))
	for i, h := range t.Hosts {
		hosts[i], ports[i] = strings.Trim(h, "[]"), "5432"
		if host, port, err := net.SplitHostPort(h); err == nil {
			hosts[i], ports[i] = host, port
		}
	}
	out.add("host", strings.Join(hosts, ","))
	out.add("port", strings.Join(ports, ","))
	if len(hosts) > 1 && !t.Query.Has("target_session_attrs") {
		out.add("target_session_attrs", "primary")
	}
	return nil
}

func (out *target) parseOwn(t backend.Target) (err error) {
	out.Prefix, out.Sequence = t.Query.Get("prefix"), t.Query.Get("sequence")
	if t.Query.Has("sequence") && out.Sequence == "" {
		return errors.New("the parameter sequence is empty")
	}
	if t.Query.Has("max_waiting") {
		if out.MaxWaiting, err = strconv.Atoi(t.Query.Get("max_waiting")); err != nil || out.MaxWaiting <= 0 {
			return errors.New("the parameter max_waiting must be a positive number")
		}
	}
	if t.Query.Has("snapshot_age") {
		if out.SnapshotAge, err = time.ParseDuration(t.Query.Get("snapshot_age")); err != nil || out.SnapshotAge <= 0 {
			return errors.New("the parameter snapshot_age must be a duration such as 5m")
		}
	}
	if t.Query.Has("restart_grace") {
		grace, err := strconv.ParseBool(t.Query.Get("restart_grace"))
		if err != nil {
			return errors.New("the parameter restart_grace must be true or false")
		}
		out.NoRestartGrace = !grace
	}
	return nil
}

// connString is the driver's form of words: libpq's keywords and values.
func (out *target) connString() string {
	escape := strings.NewReplacer("\\", "\\\\", "'", "\\'")
	parts := make([]string, len(out.words))
	for i, w := range out.words {
		parts[i] = w[0] + "='" + escape.Replace(w[1]) + "'"
	}
	return strings.Join(parts, " ")
}
