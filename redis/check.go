// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ready checks the servers, once: Open does, or the first Lock.
func (b *Backend) ready(ctx context.Context) error {
	if done, err := b.isChecked(); done || err != nil {
		return err
	}
	select {
	case b.checking <- struct{}{}:
		defer func() { <-b.checking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if done, err := b.isChecked(); done || err != nil {
		return err
	}
	if err := b.checkServers(ctx); err != nil {
		return unavailable(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.checked = true
	return nil
}

func (b *Backend) isChecked() (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false, errClosed
	}
	return b.checked, nil
}

func (b *Backend) checkServers(ctx context.Context) error {
	var found error
	err := b.run(ctx, func(ctx context.Context) {
		if b.cluster == nil {
			found = b.checkServer(ctx, b.client)
		} else {
			found = b.cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
				return b.checkServer(ctx, c)
			})
		}
		if found == nil {
			found = b.checkChannel(ctx)
		}
	}, func() {})
	if err != nil {
		return err
	}
	return found
}

func (b *Backend) checkServer(ctx context.Context, c redis.UniversalClient) error {
	info, err := c.Info(ctx).Result()
	switch {
	case redis.HasErrorPrefix(err, "NOPERM") && b.cfg.AllowEviction:
		return nil
	case redis.HasErrorPrefix(err, "NOPERM"):
		return fmt.Errorf("the server must tell whether it evicts keys: grant +info, or set allow_eviction: %w", err)
	case err != nil:
		return err
	}
	return checkInfo(info, b.cluster != nil, b.cfg.AllowEviction)
}

// A refusal is the adapter's own word on a server.
type refusal string

func (r refusal) Error() string { return string(r) }

// checkInfo reads the answer of INFO.
func checkInfo(info string, cluster, allowEviction bool) error {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[key] = value
		}
	}
	version := fields["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	memory, policy := fields["maxmemory"], fields["maxmemory_policy"]
	inCluster := fields["cluster_enabled"] == "1"
	switch {
	case err != nil:
		return refusal("the server does not tell its version")
	case n < 5:
		return refusal(fmt.Sprintf("redis %s is too old: at least 5.0 is needed, whose scripts may read the time", version))
	case cluster && n < 7:
		return refusal(fmt.Sprintf("redis %s is too old: a cluster needs at least 7.0, for shard channels", version))
	case inCluster && !cluster:
		return refusal("the server is a node of a cluster: use cluster=true, or a ClusterClient")
	case cluster && !inCluster:
		return refusal("the server is not a node of a cluster")
	case fields["role"] == "slave":
		return refusal("the server is a replica: locks are taken at the master")
	case policy == "" && !allowEviction:
		return refusal("the server does not tell whether it evicts keys; allow_eviction=true takes the risk")
	case memory != "0" && policy != "noeviction" && !allowEviction:
		return refusal(fmt.Sprintf("the server has maxmemory-policy %s: when its memory is full it evicts locks that are held, and tells nobody; set noeviction, or allow_eviction=true to accept that", policy))
	}
	return nil
}

// checkChannel makes sure that a push can be sent and heard.
func (b *Backend) checkChannel(ctx context.Context) error {
	k := keysOf(b.cfg.Prefix, "check")
	channel := b.channelOf(k)
	var ps *redis.PubSub
	var err error
	if b.cluster != nil {
		err = b.cluster.SPublish(ctx, channel, "").Err()
		ps = b.cluster.SSubscribe(ctx, channel)
	} else {
		err = b.client.Publish(ctx, channel, "").Err()
		ps = b.client.Subscribe(ctx, channel)
	}
	defer func() { _ = ps.Close() }()
	if err == nil {
		_, err = ps.ReceiveTimeout(ctx, exchangeTimeout)
	}
	if redis.HasErrorPrefix(err, "NOPERM") {
		return fmt.Errorf("a lock is handed over by a message on the channel %s*: grant &%s* with +publish +subscribe (in a cluster +spublish +ssubscribe): %w",
			b.cfg.Prefix, b.cfg.Prefix, err)
	}
	return err
}
