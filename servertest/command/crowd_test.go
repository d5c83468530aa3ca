// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package command_test

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golocker/locker/servertest"
)

// work is a command that leaves its token as long as it runs, and ignores
// SIGTERM every other time.
const work = `
case $LOCKER_TOKEN in *[02468]) trap "" TERM;; esac
i=0; while [ $i -lt 10 ]; do echo $LOCKER_TOKEN >>log; sleep 0.03; i=$((i+1)); done`

// Several lockers share one Redis of which every third reply is lost. No two
// commands run at a time, tokens grow, and nothing stays. The replies are lost
// for 20 s, or as long as $LOCKER_CROWD_TIME says.
func TestCrowdLosesReplies(t *testing.T) {
	t.Parallel()
	lossy := 20 * time.Second
	if text := os.Getenv("LOCKER_CROWD_TIME"); text != "" {
		var err error
		if lossy, err = time.ParseDuration(text); err != nil {
			t.Fatalf("LOCKER_CROWD_TIME: %v", err)
		}
	}
	l := redis.newLock(t, servertest.Start)

	stop := make(chan struct{})
	var mu sync.Mutex
	ends := map[int]int{} // by status
	var crowd sync.WaitGroup
	for range 5 {
		crowd.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := l.start(l.holderURL(), work, "--ttl", "2s", "--wait", "10s")
				<-p.done
				status := p.ProcessState.ExitCode()
				mu.Lock()
				ends[status]++
				mu.Unlock()
				switch status {
				case 0, 69, 74, 75:
				default:
					t.Errorf("status %d, stderr %q", status, p.stderr.String())
				}
			}
		})
	}
	eventually(t, "each works", func() bool { return len(tokens(t, l.dir)) >= 5 })
	l.network.LoseReplies(3)
	<-time.After(lossy)
	during := len(tokens(t, l.dir))
	if err := l.network.Heal(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "each works again", func() bool { return len(tokens(t, l.dir)) >= during+5 })
	close(stop)
	crowd.Wait()

	all := tokens(t, l.dir)
	for i := 1; i < len(all); i++ {
		if all[i] <= all[i-1] {
			t.Errorf("token %d left a trace after %d", all[i], all[i-1])
		}
	}
	t.Logf("%d commands ran, %d of them before the network healed; lockers by exit status: %v", len(all), during, ends)
	eventually(t, "nothing stays in Redis but what expires", func() bool {
		for _, key := range strings.Fields(l.server.Exec(t, "redis-cli", "--scan")) {
			left := strings.TrimSpace(l.server.Exec(t, "redis-cli", "pttl", key))
			if n, err := strconv.Atoi(left); err != nil || n == -1 || key == "app:"+l.name {
				return false
			}
		}
		return true
	})
}

// tokens returns the tokens that commands have left, each once where it stands
// in a row. One that ran beside another stands there twice.
func tokens(t testing.TB, dir string) (all []int64) {
	t.Helper()
	for _, line := range traces(t, dir) {
		token, err := strconv.ParseInt(line, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 0 || all[len(all)-1] != token {
			all = append(all, token)
		}
	}
	return all
}
