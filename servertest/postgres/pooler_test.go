// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/golocker/locker/servertest"
)

// Behind a pooler an advisory lock belongs to whoever gets the connection next.
func TestHazard_P2_Pooler(t *testing.T) {
	t.Parallel()
	spec := servertest.Postgres()
	spec.Files = map[string]string{}
	port := map[string]int{"session": 6432, "transaction": 6433, "statement": 6434}
	for mode, p := range port {
		spec.Files["/etc/pgbouncer/"+mode+".ini"] = fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=5432 user=postgres password=secret\n"+
			"[pgbouncer]\nlisten_addr = 0.0.0.0\nlisten_port = %d\nunix_socket_dir =\nauth_type = any\npool_mode = %s\nlogfile = /tmp/%[2]s.log\npidfile = /tmp/%[2]s.pid\n", p, mode)
	}
	server := servertest.Start(t, spec)
	if strings.TrimSpace(server.Exec(t, "sh", "-c", "command -v pgbouncer || echo none")) == "none" {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI=true, and the image has no pgbouncer")
		}
		t.Skip("SKIPPED: the image has no pgbouncer")
	}
	ip := strings.Fields(server.Exec(t, "hostname", "-i"))[0]
	for mode, p := range port {
		server.Exec(t, "pgbouncer", "-d", "-u", "postgres", "/etc/pgbouncer/"+mode+".ini")
		url := servertest.PostgresURL(fmt.Sprintf("%s:%d", ip, p))
		eventually(t, "pgbouncer answers", func() bool { return pings(t, url) })
		refusal(t, url, "pooler", "address of the Postgres server")
		refusal(t, url+"&search_path=public", "pooler", "startup parameter")
	}
	b := openURL(t, servertest.PostgresURL(ip+":5432"))
	unlock(t, b, lock(t, b, noWait("direct")))
}
