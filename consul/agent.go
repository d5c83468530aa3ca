// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package consul

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/golocker/locker/backend"
	"github.com/golocker/locker/internal/sessions"
)

const (
	// exchangeTimeout bounds one request that does not block.
	exchangeTimeout = 3 * time.Second

	// patience is how long a request that was never answered is sent again.
	patience = 4 * time.Second

	// maxExchanges is how many requests that do not block are under way at a
	// time: each has a connection, of which an agent takes no more than 200
	// from one address (C4).
	maxExchanges = 16

	// maxTxnOps is how many operations Consul takes in one transaction.
	maxTxnOps = 128

	// contenderFlags tell a contender's key from those of others.
	contenderFlags = 0x6c6f636b6572 // "locker"
)

// An agent is how a Backend talks to Consul. Every request has a deadline.
type agent struct {
	client    *api.Client
	renewals  *api.Client // with a transport of its own, so that what waits cannot keep renewals back
	namespace string
	partition string
	dc        string
	slots     chan struct{} // of the requests of client that do not block
}

func newAgent(client *api.Client, cfg *Config) *agent {
	a := &agent{
		client: client, renewals: cfg.Renewals,
		namespace: cfg.Namespace, partition: cfg.Partition, dc: cfg.Datacenter,
		slots: make(chan struct{}, maxExchanges),
	}
	if a.renewals == nil {
		a.renewals = client
	}
	return a
}

// exchange makes one request that does not block.
func exchange[T any](ctx context.Context, a *agent, send func(context.Context) (T, error)) (T, error) {
	var none T
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return none, unavailable(context.Cause(ctx))
	}
	return bounded(ctx, exchangeTimeout, send)
}

// bounded makes one request, and gives it a deadline.
func bounded[T any](ctx context.Context, within time.Duration, send func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	reply, err := send(ctx)
	return reply, classify(err)
}

// persist makes a request until it is answered, or patience or ctx ends. silent
// is called after each that was not.
func persist[T any](ctx context.Context, send func(context.Context) (T, error), silent func()) (T, error) {
	over := backend.Now().Add(patience)
	var reason error // of an earlier try, which says more than a time-out
	for wait := sessions.FirstPause; ; wait *= 2 {
		reply, err := send(ctx)
		if !errors.Is(err, backend.ErrUnavailable) {
			return reply, err
		}
		silent()
		if !timedOut(err) {
			reason = err
		} else if reason != nil {
			err = reason
		}
		if ctx.Err() != nil || backend.Now().Add(wait).After(over) {
			return reply, err
		}
		sessions.Pause(ctx, wait)
	}
}

func (a *agent) write(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{Namespace: a.namespace, Partition: a.partition, Datacenter: a.dc}).WithContext(ctx)
}

func (a *agent) query(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{Namespace: a.namespace, Partition: a.partition, Datacenter: a.dc}).WithContext(ctx)
}

func (a *agent) consistent(ctx context.Context) *api.QueryOptions {
	q := a.query(ctx)
	q.RequireConsistent = true
	return q
}

// blocking returns options with which a query is answered once something has
// changed after index, or after wait.
func (a *agent) blocking(ctx context.Context, index uint64, wait time.Duration) *api.QueryOptions {
	q := a.query(ctx)
	q.WaitIndex, q.WaitTime = index, wait
	return q
}

// block makes one blocking query. Consul adds a sixteenth to its wait.
func block[T any](ctx context.Context, wait time.Duration, send func(context.Context) (T, error)) (T, error) {
	return bounded(ctx, wait+wait/16+exchangeTimeout, send)
}

// ops places operations.
func (a *agent) ops(ops ...api.KVTxnOp) api.TxnOps {
	all := make(api.TxnOps, len(ops))
	for i, op := range ops {
		op.Namespace, op.Partition = a.namespace, a.partition
		all[i] = &api.TxnOp{KV: &op}
	}
	return all
}

// txn makes one transaction that writes. What Consul rolled back is in the
// answer's Errors. [api.Txn] would drop the status of other answers.
func (a *agent) txn(ctx context.Context, ops ...api.KVTxnOp) (api.TxnResponse, error) {
	return exchange(ctx, a, func(ctx context.Context) (answer api.TxnResponse, err error) {
		_, err = a.client.Raw().Write("/v1/txn", a.ops(ops...), &answer, a.write(ctx))
		var status api.StatusError
		if errors.As(err, &status) && status.Code == http.StatusConflict {
			err = json.Unmarshal([]byte(status.Body), &answer)
		}
		return answer, err
	})
}
