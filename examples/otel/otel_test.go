// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package otellock_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/golocker/locker"
	otellock "github.com/golocker/locker/examples/otel"
	"github.com/golocker/locker/memory"
)

// A telemetry is a wrapped Locker and all that it told.
type telemetry struct {
	*otellock.Locker
	t      *testing.T
	spans  *tracetest.InMemoryExporter
	reader *sdkmetric.ManualReader
}

func wrap(t *testing.T, inner locker.Locker) *telemetry {
	t.Helper()
	spans, reader := tracetest.NewInMemoryExporter(), sdkmetric.NewManualReader()
	l, err := otellock.Wrap(inner,
		sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
		sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	return &telemetry{l, t, spans, reader}
}

func client(t *testing.T) *locker.Client {
	t.Helper()
	c, err := locker.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// told returns the spans as "name outcome status".
func (l *telemetry) told() (all []string) {
	for _, s := range l.spans.GetSpans() {
		text := s.Name
		for _, kv := range s.Attributes {
			if kv.Key == "locker.outcome" {
				text += " " + kv.Value.AsString()
			}
		}
		if s.Status.Code == codes.Error {
			text += " failed"
		}
		all = append(all, text)
	}
	return all
}

func (l *telemetry) wantSpans(want ...string) {
	l.t.Helper()
	if got := l.told(); !slices.Equal(got, want) {
		l.t.Errorf("spans %q, want %q", got, want)
	}
}

// count returns how often a histogram has seen outcome; for a sum, its value.
func (l *telemetry) count(name, outcome string) (n int) {
	l.t.Helper()
	var all metricdata.ResourceMetrics
	if err := l.reader.Collect(context.Background(), &all); err != nil {
		l.t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				if m.Name == name {
					n += int(data.DataPoints[0].Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					if v, _ := p.Attributes.Value("locker.outcome"); m.Name == name && v.AsString() == outcome {
						n += int(p.Count)
					}
				}
			}
		}
	}
	return n
}

func TestHold(t *testing.T) {
	l := wrap(t, client(t))
	lease, err := l.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if n := l.count("locker.held", ""); n != 1 {
		t.Errorf("%d held, want 1", n)
	}
	if _, ok, err := locker.TryLock(t.Context(), l, "x"); ok || err != nil {
		t.Errorf("TryLock of a held lock: %v, %v", ok, err)
	}
	if err := errors.Join(l.Renew(t.Context(), lease), l.Unlock(t.Context(), lease)); err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(t.Context(), lease); !errors.Is(err, locker.ErrUnlocked) {
		t.Errorf("a second Unlock: %v", err)
	}
	l.wantSpans("locker lock ok", "locker lock locked", "locker renew ok", "locker unlock ok", "locker unlock error failed")
	for _, name := range []string{"locker.wait", "locker.hold"} {
		if n := l.count(name, "ok"); n != 1 {
			t.Errorf("%s has seen %d, want 1", name, n)
		}
	}
	if locked, held := l.count("locker.wait", "locked"), l.count("locker.held", ""); locked != 1 || held != 0 {
		t.Errorf("locked %d times, want 1; %d held, want 0", locked, held)
	}
	for _, s := range l.spans.GetSpans() {
		if s.Attributes[0].Value.AsString() != "x" {
			t.Errorf("%s is of %v, want x", s.Name, s.Attributes)
		}
	}
}

func TestWaitEnds(t *testing.T) {
	l := wrap(t, client(t))
	lease, err := l.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Unlock(t.Context(), lease) }()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := l.Lock(ended, "x")
	_, err2 := l.Lock(t.Context(), "x", locker.MaxWait(time.Millisecond))
	if !errors.Is(err1, context.Canceled) || !errors.Is(err2, context.DeadlineExceeded) {
		t.Errorf("errors %v, %v", err1, err2)
	}
	if c, d := l.count("locker.wait", "canceled"), l.count("locker.wait", "timeout"); c != 1 || d != 1 {
		t.Errorf("canceled %d, timeout %d, want 1 each", c, d)
	}
}

// A losing Locker gives one lease, which lose ends.
type losing struct {
	locker.Locker
	lose context.CancelCauseFunc
}

func (l *losing) Lock(ctx context.Context, name string, _ ...locker.Option) (*locker.Lease, error) {
	ctx, l.lose = context.WithCancelCause(ctx)
	return locker.NewLease(ctx, name, 7, nil), nil
}

func TestLoss(t *testing.T) {
	inner := &losing{}
	l := wrap(t, inner)
	if _, err := l.Lock(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	inner.lose(locker.ErrLost)
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(30 * time.Second); len(l.told()) < 2; <-poll.C {
		if time.Now().After(end) {
			t.Fatalf("no span of the loss: %q", l.told())
		}
	}
	l.wantSpans("locker lock ok", "locker lost lost failed")
	if lost, held := l.count("locker.hold", "lost"), l.count("locker.held", ""); lost != 1 || held != 0 {
		t.Errorf("lost %d times, want 1; %d held, want 0", lost, held)
	}
	spans := l.spans.GetSpans()
	if spans[1].Parent.SpanID() != spans[0].SpanContext.SpanID() {
		t.Error("the loss is not a child of the Lock")
	}
}

// A lasting Locker gives leases whose Contexts do not end.
type lasting struct{ locker.Locker }

func (lasting) Lock(_ context.Context, name string, _ ...locker.Option) (*locker.Lease, error) {
	return locker.NewLease(context.Background(), name, 7, nil), nil
}

func (lasting) Unlock(context.Context, *locker.Lease) error { return nil }

// The end is recorded when Unlock returns, whatever the lease's Context does.
func TestUnlockRecordsTheEnd(t *testing.T) {
	l := wrap(t, lasting{})
	lease, err := l.Lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if ended, held := l.count("locker.hold", "ok"), l.count("locker.held", ""); ended != 1 || held != 0 {
		t.Errorf("%d ended, want 1; %d held, want 0", ended, held)
	}
}

func TestInspectFindsTheClient(t *testing.T) {
	l := wrap(t, client(t))
	lease, err := l.Lock(t.Context(), "x", locker.Note("me"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Unlock(t.Context(), lease) }()
	if state, err := locker.Inspect(t.Context(), l, "x"); err != nil || !state.Held || state.Note != "me" {
		t.Errorf("Inspect: %+v, %v", state, err)
	}
}
