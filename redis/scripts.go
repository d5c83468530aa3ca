// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed settle.lua
var settleLua string

//go:embed lock.lua
var lockLua string

//go:embed release.lua
var releaseLua string

//go:embed renew.lua
var renewLua string

//go:embed drop.lua
var dropLua string

//go:embed inspect.lua
var inspectLua string

// The scripts; each .lua file begins with its contract.
var (
	lockScript    = newScript(settleLua, lockLua)
	releaseScript = newScript(settleLua, releaseLua)
	renewScript   = newScript(renewLua)
	dropScript    = newScript(dropLua)
	inspectScript = newScript(inspectLua)
)

// A script is Lua that the server knows by its hash, or is told.
type script struct{ text, sha string }

func newScript(parts ...string) script {
	text := strings.Join(parts, "\n")
	sum := sha1.Sum([]byte(text)) // Redis names scripts so
	return script{text, hex.EncodeToString(sum[:])}
}

// A call is one run of a script. go-redis must not send it twice by itself:
// the adapter has to know of every copy that may be on its way.
type call struct {
	*redis.Cmd
	script script
	keys   []string
	args   []any
}

func newCall(ctx context.Context, s script, keys []string, args ...any) *call {
	c := &call{script: s, keys: keys, args: args}
	c.Cmd = c.command(ctx, "evalsha", s.sha)
	return c
}

// NoRetry tells go-redis not to repeat the command.
func (c *call) NoRetry() bool { return true }

// spellOut makes the next run carry the script's text.
func (c *call) spellOut(ctx context.Context) { c.Cmd = c.command(ctx, "eval", c.script.text) }

func (c *call) command(ctx context.Context, name, script string) *redis.Cmd {
	args := make([]any, 0, 3+len(c.keys)+len(c.args))
	args = append(args, name, script, len(c.keys))
	for _, k := range c.keys {
		args = append(args, k)
	}
	return redis.NewCmd(ctx, append(args, c.args...)...)
}

// process runs calls in one exchange (per node of a cluster), and once more
// those whose script the server did not know. Each call has its own error.
func process(ctx context.Context, client redis.UniversalClient, calls ...*call) {
	send(ctx, client, calls)
	unknown := slices.DeleteFunc(slices.Clone(calls), func(c *call) bool { return !unknownScript(c.Err()) })
	if len(unknown) == 0 {
		return
	}
	for _, c := range unknown {
		c.spellOut(ctx)
	}
	send(ctx, client, unknown)
}

func send(ctx context.Context, client redis.UniversalClient, calls []*call) {
	if len(calls) == 1 {
		_ = client.Process(ctx, calls[0]) // the call keeps its error
		return
	}
	pipe := client.Pipeline()
	for _, c := range calls {
		_ = pipe.Process(ctx, c) // queues it only
	}
	_, _ = pipe.Exec(ctx) // each call keeps its own error
}

func unknownScript(err error) bool {
	return err != nil && (errors.Is(err, redis.ErrNoScript) || redis.HasErrorPrefix(err, "NOSCRIPT"))
}
