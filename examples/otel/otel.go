// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Package otellock tells OpenTelemetry what a Locker does. It is an example of a
// wrapper, to be copied: it is a module of its own, so that nobody who uses
// locker inherits OpenTelemetry.
package otellock

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/golocker/locker"
	"github.com/golocker/locker/backend"
)

const scope = "github.com/golocker/locker/examples/otel"

// A Locker makes a span of each call of the Locker that it wraps, and one of each
// loss. Its metrics are locker.wait (histogram of seconds, by outcome),
// locker.hold (histogram of seconds, by how the lease ended) and locker.held (how
// many are held now). The lock's name is on the spans alone: as an attribute of a
// metric, each name would make a series. It is safe for concurrent use.
type Locker struct {
	inner  locker.Locker
	tracer trace.Tracer
	wait   metric.Float64Histogram
	hold   metric.Float64Histogram
	held   metric.Int64UpDownCounter
	ends   sync.Map // *locker.Lease → func(), which records its end once
}

// Wrap returns inner with spans and metrics.
func Wrap(inner locker.Locker, traces trace.TracerProvider, metrics metric.MeterProvider) (*Locker, error) {
	meter := metrics.Meter(scope)
	wait, err1 := meter.Float64Histogram("locker.wait", metric.WithUnit("s"), metric.WithDescription("How long Lock took."))
	hold, err2 := meter.Float64Histogram("locker.hold", metric.WithUnit("s"), metric.WithDescription("How long leases lasted."))
	held, err3 := meter.Int64UpDownCounter("locker.held", metric.WithUnit("{lock}"), metric.WithDescription("Locks held now."))
	l := &Locker{inner: inner, tracer: traces.Tracer(scope), wait: wait, hold: hold, held: held}
	return l, errors.Join(err1, err2, err3)
}

// Unwrap returns the wrapped Locker, for [locker.Inspect].
func (l *Locker) Unwrap() locker.Locker { return l.inner }

// Lock implements [locker.Locker]. The lease's Context has the span of Lock, so
// that what is done with it is a child of that.
func (l *Locker) Lock(ctx context.Context, name string, opts ...locker.Option) (*locker.Lease, error) {
	ctx, span := l.start(ctx, "lock", name)
	start := backend.Now()
	lease, err := l.inner.Lock(ctx, name, opts...)
	l.wait.Record(ctx, backend.Now().Sub(start).Seconds(), metric.WithAttributes(outcome(err)))
	if err == nil {
		span.SetAttributes(attribute.Int64("locker.token", lease.Token()))
		l.watch(ctx, lease)
	}
	finish(span, err)
	return lease, err
}

// Renew implements [locker.Locker].
func (l *Locker) Renew(ctx context.Context, lease *locker.Lease) error {
	ctx, span := l.start(ctx, "renew", lease.Name())
	err := l.inner.Renew(ctx, lease)
	finish(span, err)
	return err
}

// Unlock implements [locker.Locker].
func (l *Locker) Unlock(ctx context.Context, lease *locker.Lease) error {
	ctx, span := l.start(ctx, "unlock", lease.Name())
	err := l.inner.Unlock(ctx, lease)
	finish(span, err)
	if end, ok := l.ends.Load(lease); ok {
		end.(func())() // now, and not when watch comes to it: the program may be about to end
	}
	return err
}

// watch records the end of a lease, by whatever it comes.
func (l *Locker) watch(ctx context.Context, lease *locker.Lease) {
	ctx = context.WithoutCancel(ctx)
	start := backend.Now()
	l.held.Add(ctx, 1)
	end := sync.OnceFunc(func() {
		l.ends.Delete(lease)
		err := lease.Err()
		if errors.Is(err, locker.ErrUnlocked) {
			err = nil
		}
		l.held.Add(ctx, -1)
		l.hold.Record(ctx, backend.Now().Sub(start).Seconds(), metric.WithAttributes(outcome(err)))
		if err != nil {
			_, span := l.start(ctx, "lost", lease.Name())
			finish(span, err)
		}
	})
	l.ends.Store(lease, end)
	context.AfterFunc(lease.Context(), end)
}

func (l *Locker) start(ctx context.Context, op, name string) (context.Context, trace.Span) {
	return l.tracer.Start(ctx, "locker "+op, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.String("locker.name", name)))
}

// finish ends a span. That another holds the lock is an answer, not a failure.
func finish(span trace.Span, err error) {
	span.SetAttributes(outcome(err))
	if err != nil && !errors.Is(err, locker.ErrLocked) {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

func outcome(err error) attribute.KeyValue {
	text := "error"
	switch {
	case err == nil:
		text = "ok"
	case errors.Is(err, locker.ErrLost):
		text = "lost"
	case errors.Is(err, locker.ErrClosed):
		text = "closed"
	case errors.Is(err, context.Canceled):
		text = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		text = "timeout"
	case errors.Is(err, locker.ErrLocked):
		text = "locked"
	}
	return attribute.String("locker.outcome", text)
}
