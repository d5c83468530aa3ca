// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd_test

import (
	"context"
	"maps"
	"path"
	"sync"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// A tap sees, counts and changes what clients say to the server.
type tap struct {
	mu      sync.Mutex
	unary   map[string]int // requests, by method
	opened  map[string]int // streams
	sent    map[string]int // messages on streams
	events  int            // of watches
	hook    func(ctx context.Context, method string, req, reply any, invoke func(context.Context) error) error
	receive func(method string, reply any) // before a stream's message is handed over
	send    func(method string) bool       // false: the message is swallowed
}

func newTap() *tap {
	t := &tap{}
	t.reset()
	return t
}

// use puts the tap into a client's connection.
func (t *tap) use(cfg *clientv3.Config) {
	cfg.DialOptions = append(cfg.DialOptions, grpc.WithChainUnaryInterceptor(t.call), grpc.WithChainStreamInterceptor(t.stream))
}

func (t *tap) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unary, t.opened, t.sent, t.events = map[string]int{}, map[string]int{}, map[string]int{}, 0
}

func (t *tap) counts() (unary, sent map[string]int, events int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.unary), maps.Clone(t.sent), t.events
}

func (t *tap) set(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

func (t *tap) call(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	name := path.Base(method)
	t.mu.Lock()
	t.unary[name]++
	hook := t.hook
	t.mu.Unlock()
	invoke := func(ctx context.Context) error { return invoker(ctx, method, req, reply, cc, opts...) }
	if hook == nil {
		return invoke(ctx)
	}
	return hook(ctx, name, req, reply, invoke)
}

func (t *tap) stream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := streamer(ctx, desc, cc, method, opts...)
	if err != nil {
		return nil, err
	}
	name := path.Base(method)
	t.mu.Lock()
	t.opened[name]++
	t.mu.Unlock()
	return &tapped{ClientStream: s, tap: t, method: name}, nil
}

type tapped struct {
	grpc.ClientStream
	tap    *tap
	method string
}

func (s *tapped) SendMsg(m any) error {
	s.tap.mu.Lock()
	s.tap.sent[s.method]++
	send := s.tap.send
	s.tap.mu.Unlock()
	if send != nil && !send(s.method) {
		return nil
	}
	return s.ClientStream.SendMsg(m)
}

func (s *tapped) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.tap.mu.Lock()
	receive := s.tap.receive
	if reply, ok := m.(*pb.WatchResponse); ok && err == nil {
		s.tap.events += len(reply.Events)
	}
	s.tap.mu.Unlock()
	if receive != nil {
		receive(s.method, m)
	}
	return err
}

// isEnqueue tells the transaction that puts a contender's key.
func isEnqueue(req any) bool {
	txn, ok := req.(*pb.TxnRequest)
	return ok && len(txn.Success) == 2 && txn.Success[0].GetRequestPut() != nil && txn.Success[1].GetRequestRange() != nil
}

// hold keeps the next request that match accepts until release is called, and
// lets it through then, whether or not its sender still waits. late carries
// what became of it.
func (t *tap) hold(tb testing.TB, match func(req any) bool) (caught chan struct{}, release func() (late error)) {
	caught, released, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var once, open sync.Once
	t.set(func() {
		t.hook = func(ctx context.Context, _ string, req, _ any, invoke func(context.Context) error) error {
			mine := false
			if match(req) {
				once.Do(func() { mine = true; close(caught) })
			}
			if !mine {
				return invoke(ctx)
			}
			answered := make(chan error, 1)
			go func() {
				<-released
				err := invoke(context.WithoutCancel(ctx))
				answered <- err
				done <- err
			}()
			select {
			case err := <-answered:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	tb.Cleanup(func() { open.Do(func() { close(released) }) })
	return caught, func() error {
		open.Do(func() { close(released) })
		return <-done
	}
}
