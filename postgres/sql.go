// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultSequence is the sequence that tokens come from.
const DefaultSequence = "locker_token"

// The names of the statements that every session prepares.
const (
	tryStatement       = "locker_try"        // the token, or NULL if another holds the lock
	waitStatement      = "locker_wait"       // blocks until the lock is granted
	unlockStatement    = "locker_unlock"     // whether the lock was held
	unlockAllStatement = "locker_unlock_all" // of a session that waited: its one lock, however often it was granted
	tokenStatement     = "locker_token"      // the next token
)

// maintenanceKey is that of the advisory lock under which the sequence is made
// and moved, for the length of one transaction.
var maintenanceKey = hash("locker/postgres sequence")

// moveSQL moves the sequence to where it never was (P3), in one transaction.
func moveSQL(sequence string) []string {
	s := literal(sequence) + "::regclass"
	return []string{
		fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", maintenanceKey),
		fmt.Sprintf("SELECT setval(%s, greatest(nextval(%[1]s) + %d, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))", s, sequenceStride),
	}
}

// statements are what every session prepares, by name. Token and lock come in one
// statement: a token that is drawn later than the lock is granted is larger than
// that of the holder before.
func statements(sequence string) map[string]string {
	next := "nextval(" + literal(sequence) + "::regclass)"
	return map[string]string{
		tryStatement:       "SELECT CASE WHEN pg_try_advisory_lock($1) THEN " + next + " END",
		waitStatement:      "SELECT pg_advisory_lock($1)",
		unlockStatement:    "SELECT pg_advisory_unlock($1)",
		unlockAllStatement: "SELECT pg_advisory_unlock_all()",
		tokenStatement:     "SELECT " + next,
	}
}

// sequenceStride is far more than a crash can take back: 32 values for each
// session that drew some.
const sequenceStride = 1 << 16

// createSQL is what makes the sequence. Its START marks the life of the server
// in which it was made (P4).
func createSQL(sequence string, postmasterStart int64) string {
	return fmt.Sprintf("CREATE SEQUENCE IF NOT EXISTS %s AS bigint INCREMENT 1 START %d CACHE 1 NO CYCLE", quoted(sequence), postmasterStart)
}

// startedColumn tells a session from an earlier one with the same pid.
const startedColumn = "(extract(epoch FROM backend_start) * 1000000)::bigint"

// identitySQL asks what a session is, and what server it is on.
const identitySQL = "SELECT pg_backend_pid(), " + startedColumn + ", pg_is_in_recovery(), current_user, " +
	"(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, " +
	"(extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) * 1000000)::bigint " +
	"FROM pg_stat_get_activity(pg_backend_pid())"

// sequenceSQL asks for the properties of the sequence, if there is one, and how
// many have its name in other schemas.
func sequenceSQL(sequence string) string {
	_, name := splitSequence(sequence)
	return fmt.Sprintf("SELECT format('%%I.%%I', n.nspname, c.relname), c.relpersistence, s.seqtypid = 'bigint'::regtype, s.seqincrement, s.seqcycle, s.seqcache, s.seqstart, "+
		"(SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relname = %s) "+
		"FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.oid = to_regclass(%s)",
		literal(name), literal(quoted(sequence)))
}

// A setting is a parameter of the server that a session sets for itself.
type setting struct {
	name, value string
	checked     bool // a server that does not keep the value is refused (P2)
}

// settings are those of every session. The server's idle timer is the lease:
// it ends a session, and frees its locks, a TTL after the last exchange.
func settings(ttl time.Duration, version int) []setting {
	ms := strconv.FormatInt(ttl.Milliseconds(), 10)
	probe := strconv.FormatInt(max(1, int64(ttl.Seconds()/3)), 10)
	list := []setting{
		{"idle_session_timeout", ms, true},
		{"statement_timeout", "0", true},
		{"lock_timeout", "0", true},
		{"idle_in_transaction_session_timeout", "0", true},
		{"synchronous_commit", "on", true},
		{"default_transaction_read_only", "off", true},
		{"client_connection_check_interval", "1000", true}, // a waiter that was killed leaves the queue
		{"role", "none", false},                            // another role may not see or end the sessions of this one
		// The kernel's part, which a Unix socket does not have.
		{"tcp_keepalives_idle", probe, false},
		{"tcp_keepalives_interval", probe, false},
		{"tcp_keepalives_count", "3", false},
		{"tcp_user_timeout", ms, false},
	}
	if version >= 17 {
		list = append(list, setting{"transaction_timeout", "0", true})
	}
	return list
}

// settingsSQL sets the settings and reads the checked ones back.
func settingsSQL(list []setting) string {
	var values, names []string
	for _, s := range list {
		values = append(values, fmt.Sprintf("(%s, %s)", literal(s.name), literal(s.value)))
		if s.checked {
			names = append(names, literal(s.name))
		}
	}
	return "SELECT set_config(name, value, false) FROM (VALUES " + strings.Join(values, ", ") + ") AS s (name, value); " +
		"SELECT name, setting FROM pg_settings WHERE name IN (" + strings.Join(names, ", ") + ")"
}

// cancelSQL ends the statement of another session of ours.
func cancelSQL(pid uint32) string { return fmt.Sprintf("SELECT pg_cancel_backend(%d)", pid) }

// queuedSQL asks whether a session of ours waits for an advisory lock. It takes
// no lock of the lock table, as pg_locks does.
func queuedSQL(pid uint32) string {
	return fmt.Sprintf("SELECT 1 FROM pg_stat_get_activity(%d) WHERE wait_event_type = 'Lock' AND wait_event = 'advisory'", pid)
}

// terminateSQL ends a session of ours; it returns no row once there is none.
func terminateSQL(pid uint32, started string) string {
	return fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(%d) WHERE %s = %s", pid, startedColumn, started)
}

// watchSQL asks which of our waiting sessions live, and for whose transaction
// somebody else waits (P8).
func watchSQL(pids []uint32) string {
	list := make([]string, len(pids))
	for i, pid := range slices.Sorted(slices.Values(pids)) {
		list[i] = strconv.FormatUint(uint64(pid), 10)
	}
	in := strings.Join(list, ", ")
	return "SELECT 'lives', pid, " + startedColumn + " FROM pg_stat_get_activity(NULL) WHERE pid IN (" + in + ") " +
		"UNION ALL SELECT 'blocks', w.pid, NULL FROM pg_locks w JOIN pg_locks v ON v.locktype = 'virtualxid' AND NOT v.granted AND v.virtualxid = w.virtualtransaction " +
		"WHERE w.locktype = 'advisory' AND NOT w.granted AND w.pid IN (" + in + ")"
}

// inspectSQL asks who holds a lock, and how many wait for it.
func inspectSQL(key int64) string {
	return fmt.Sprintf("SELECT count(*) FILTER (WHERE granted), count(*) FILTER (WHERE NOT granted) FROM pg_locks WHERE locktype = 'advisory' "+
		"AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objsubid = 1 AND classid = %d AND objid = %d",
		uint32(uint64(key)>>32), uint32(uint64(key)))
}

// literal quotes a text. Sessions have standard_conforming_strings on, but a
// backslash is safe either way with E”.
func literal(s string) string {
	quote := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, "\\") {
		return " E" + strings.ReplaceAll(quote, "\\", "\\\\")
	}
	return quote
}

// quoted quotes the name of a sequence, schema.name or name.
func quoted(sequence string) string {
	schema, name := splitSequence(sequence)
	ident := func(s string) string { return "\"" + strings.ReplaceAll(s, "\"", "\"\"") + "\"" }
	if schema == "" {
		return ident(name)
	}
	return ident(schema) + "." + ident(name)
}

func splitSequence(sequence string) (schema, name string) {
	if schema, name, ok := strings.Cut(sequence, "."); ok {
		return schema, name
	}
	return "", sequence
}
