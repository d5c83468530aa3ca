// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/golocker/locker/backend"
)

// connectTimeout bounds the making of a session, whoever asked for it.
const connectTimeout = 5 * time.Second

// oldestVersion is the first that has idle_session_timeout.
const oldestVersion = 14

// open makes a session: it connects, sets what the lease needs and reads it
// back, makes sure of the sequence and moves it.
func (b *Backend) open(ctx context.Context, ttl time.Duration) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := b.connect(ctx)
	if err != nil {
		return nil, connectError(err)
	}
	s, err := b.setUp(ctx, conn, ttl)
	if err != nil {
		_ = conn.Close(ctx) // the first error is the one to tell
		return nil, setUpError(err)
	}
	return s, nil
}

// withstand prepares a configuration with several hosts for the failure of one. A
// host that is off would take all of the time to connect, and the primary after
// it would never be asked: each has a part, and one is left to set the session
// up. And that none of them is a primary is an outage, which a failover ends.
func withstand(c *pgconn.Config) {
	type host struct {
		name string
		port uint16
	}
	hosts := map[host]struct{}{{c.Host, c.Port}: {}}
	for _, f := range c.Fallbacks { // one host may be there with TLS, and without
		hosts[host{f.Host, f.Port}] = struct{}{}
	}
	if len(hosts) == 1 {
		return
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout / time.Duration(len(hosts)+1)
	}
	validate := c.ValidateConnect
	if validate == nil {
		return
	}
	c.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		err := validate(ctx, conn)
		if preferred := (*pgconn.NotPreferredError)(nil); err == nil || errors.As(err, &preferred) {
			return err
		}
		return unavailable(err)
	}
}

func setUpError(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code != codeAdminShutdown {
		return oneLine{err}
	}
	return connectError(err)
}

func (b *Backend) setUp(ctx context.Context, conn *pgconn.PgConn, ttl time.Duration) (*session, error) {
	version, err := versionOf(conn.ParameterStatus("server_version"))
	if err != nil {
		return nil, err
	}
	set := settings(ttl, version)
	sequence := b.cfg.sequence()
	answers, err := ask(ctx, conn, settingsSQL(set), identitySQL, sequenceSQL(sequence))
	if err != nil {
		return nil, err
	}
	id, err := identityOf(answers[2])
	if err == nil {
		err = checkSession(id, conn.PID(), set, answers[1])
	}
	if err != nil {
		return nil, err
	}
	seq, err := b.ensureSequence(ctx, conn, id, answers[3])
	if err != nil {
		return nil, err
	}
	sent := backend.Now()
	if err := prepare(ctx, conn, seq.name); err != nil {
		if codeOf(err) == codeNoPrivilege {
			err = fmt.Errorf("the role %s may not use the sequence of tokens; have its owner run: GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO %s: %w", id.role, seq.name, quoted(id.role), err)
		}
		return nil, err
	}
	raw, err := conn.Hijack()
	if err != nil {
		return nil, err
	}
	s := newSession(raw, ttl, sent, b.sessionEnded)
	s.started = id.started
	if left := ttl - id.age; left > 0 && seq.start != id.serverStart && !b.cfg.NoRestartGrace {
		s.grace = sent.Add(left)
		b.logGrace(id.serverStart, left)
	}
	return s, nil
}

// prepare moves the sequence and prepares the statements, in one transaction and
// one round trip. Each is prepared by itself, not by PREPARE in one text: the
// server shows that text, to whoever looks what a session does, for each of them.
func prepare(ctx context.Context, conn *pgconn.PgConn, sequence string) error {
	p := conn.StartPipeline(ctx)
	for _, sql := range moveSQL(sequence) {
		p.SendQueryParams(sql, nil, nil, nil, nil)
	}
	for name, sql := range statements(sequence) {
		p.SendPrepare(name, sql, nil)
	}
	if err := p.Sync(); err != nil {
		return err
	}
	return p.Close()
}

// logGrace logs once for each life of the server.
func (b *Backend) logGrace(serverStart int64, left time.Duration) {
	b.mu.Lock()
	told := b.graceOf == serverStart
	b.graceOf = serverStart
	b.mu.Unlock()
	if !told {
		b.log.Warn("the server was restarted, and holders from before may still be at work: nothing is locked until a TTL has passed", "left", left.Round(time.Millisecond))
	}
}

// ask sends statements in one simple query and returns the rows of each.
func ask(ctx context.Context, conn *pgconn.PgConn, statements ...string) ([][][]string, error) {
	results, err := conn.Exec(ctx, strings.Join(statements, "; ")).ReadAll()
	if err != nil {
		return nil, err
	}
	answers := make([][][]string, len(results))
	for i, r := range results {
		for _, row := range r.Rows {
			texts := make([]string, len(row))
			for j, v := range row {
				texts[j] = string(v)
			}
			answers[i] = append(answers[i], texts)
		}
	}
	return answers, nil
}

// versionOf returns the major version of a server_version such as "15.18 (Debian)".
func versionOf(text string) (int, error) {
	digits := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(text)
	}
	version, err := strconv.Atoi(text[:digits])
	if err != nil {
		return 0, fmt.Errorf("the server's version %q is not understood", text)
	}
	if version < oldestVersion {
		return 0, fmt.Errorf("the server is Postgres %s: idle_session_timeout, which frees the locks of a dead holder, needs version %d or later", text, oldestVersion)
	}
	return version, nil
}

// An identity says what a session is, and on what server.
type identity struct {
	pid, started string
	standby      bool
	role         string
	serverStart  int64         // µs: which life of the server it is
	age          time.Duration // of that life
}

func identityOf(rows [][]string) (identity, error) {
	if len(rows) != 1 || len(rows[0]) != 6 || rows[0][1] == "" {
		return identity{}, errors.New("the server does not show the session to itself")
	}
	r := rows[0]
	start, err1 := strconv.ParseInt(r[4], 10, 64)
	age, err2 := strconv.ParseInt(r[5], 10, 64)
	return identity{
		pid: r[0], started: r[1], standby: r[2] == "t", role: r[3],
		serverStart: start, age: time.Duration(age) * time.Microsecond,
	}, errors.Join(err1, err2)
}

// checkSession refuses a session whose locks would not be ours, or would not
// be freed (P2).
func checkSession(id identity, pid uint32, set []setting, kept [][]string) error {
	if id.pid != strconv.FormatUint(uint64(pid), 10) {
		return errPooler
	}
	if id.standby {
		return errors.New("the server is a standby, which is read-only: give the address of the primary, or all of them with target_session_attrs=primary")
	}
	values := map[string]string{}
	for _, row := range kept {
		values[row[0]] = row[1]
	}
	for _, s := range set {
		if s.checked && values[s.name] != s.value {
			return fmt.Errorf("the server does not keep %s = %s for this session, it says %q", s.name, s.value, values[s.name])
		}
	}
	return nil
}

// A sequence is where tokens come from.
type sequence struct {
	name  string // quoted and with its schema
	start int64  // its START: the life of the server in which it was made (P4)
}

// ensureSequence returns the sequence, made if it is missing. others is how many
// sequences have its name.
func (b *Backend) ensureSequence(ctx context.Context, conn *pgconn.PgConn, id identity, rows [][]string) (sequence, error) {
	name := b.cfg.sequence()
	if len(rows) == 0 {
		create := createSQL(name, id.serverStart)
		answers, err := ask(ctx, conn, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", maintenanceKey), create, sequenceSQL(name))
		switch code := codeOf(err); {
		case code == codeNoPrivilege || code == codeNoSchema:
			return sequence{}, fmt.Errorf("the sequence of tokens is missing, and the role %s may not create it; have an administrator run: %s; GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO %s: %w",
				id.role, create, quoted(name), quoted(id.role), err)
		case err != nil:
			return sequence{}, err
		}
		rows = answers[len(answers)-1]
		b.log.Info("created the sequence of tokens", "sequence", name)
	}
	return sequenceOf(name, rows)
}

func sequenceOf(name string, rows [][]string) (sequence, error) {
	if len(rows) != 1 || len(rows[0]) != 8 {
		return sequence{}, fmt.Errorf("%s is not a sequence that this role can see", name)
	}
	r := rows[0]
	increment, err1 := strconv.ParseInt(r[3], 10, 64)
	start, err2 := strconv.ParseInt(r[6], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return sequence{}, err
	}
	switch {
	case r[1] != "p":
		return sequence{}, fmt.Errorf("the sequence %s is unlogged or temporary: its tokens repeat after a crash", r[0])
	case r[2] != "t" || increment <= 0 || r[4] != "f" || r[5] != "1":
		return sequence{}, fmt.Errorf("the sequence %s must be AS bigint, with a positive INCREMENT, NO CYCLE and CACHE 1: else tokens repeat or come out of order", r[0])
	case r[7] != "1" && !strings.Contains(name, "."):
		return sequence{}, fmt.Errorf("%s sequences of this database are named %s: tokens of two do not grow together; drop all but one, or name yours with its schema by the parameter sequence", r[7], name)
	}
	return sequence{name: r[0], start: start}, nil
}
