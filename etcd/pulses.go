// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/golocker/locker/backend"
)

var errStream = errors.New("the keep-alive stream ended")

// pulses are a session's keep-alives: one stream at a time, opened when it is
// needed. A stream that does not answer in time is retired: the next keep-alive
// goes by a new one, perhaps to another member, but a late reply still counts.
type pulses struct {
	opening sync.Mutex // held while a stream is opened

	mu      sync.Mutex
	closed  bool
	stream  *pulseStream // nil: to be opened
	retired *pulseStream
	known   *pulseStream // the latest whose store is known to be as it was (E5)
}

// A pulseStream is one keep-alive stream. Replies name only the lease, so they
// belong to what was sent in order (E2).
type pulseStream struct {
	grpc   pb.Lease_LeaseKeepAliveClient
	cancel context.CancelFunc

	mu   sync.Mutex // also orders what is sent
	sent []*pulse   // without a reply
	err  error      // it has ended
}

// A pulse is one keep-alive.
type pulse struct {
	sent time.Time
	done chan struct{} // closed when what follows is set
	ttl  time.Duration // zero: there is no such lease
	head *pb.ResponseHeader
	err  error
}

// renew sends a keep-alive and returns until when the lease surely lasts.
func (s *session) renew(ctx context.Context) (time.Time, error) {
	if s.Expired() {
		return time.Time{}, context.Cause(s.Life())
	}
	stream, err := s.openPulses(ctx)
	if err != nil {
		return time.Time{}, err
	}
	p := &pulse{done: make(chan struct{})}
	if err = stream.send(p, &pb.LeaseKeepAliveRequest{ID: int64(s.lease)}); err == nil {
		select {
		case <-p.done:
			err = p.err
		case <-s.Life().Done():
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	switch {
	case s.Life().Err() != nil:
		return time.Time{}, context.Cause(s.Life())
	case err != nil:
		s.pulses.retire(stream)
		return time.Time{}, unavailable(err)
	case s.restored(ctx, stream, p.head):
		return time.Time{}, context.Cause(s.Life())
	}
	return p.sent.Add(p.ttl), nil
}

// pulsed counts a reply.
func (s *session) pulsed(p *pulse) {
	if p.ttl <= 0 {
		_ = s.Lost("its lease is gone")
	} else {
		s.Extend(p.sent, p.ttl)
	}
	close(p.done)
}

// startPulses opens the stream before there is anything to send, so that its end tells
// that servers stop. If it fails, the first keep-alive opens one.
func (s *session) startPulses() {
	ctx, cancel := context.WithTimeout(s.Life(), exchangeTimeout)
	defer cancel()
	_, _ = s.openPulses(ctx)
}

// openPulses returns the present stream, or a new one.
func (s *session) openPulses(ctx context.Context) (*pulseStream, error) {
	s.pulses.opening.Lock()
	defer s.pulses.opening.Unlock()
	if present := s.pulses.present(); present != nil {
		return present, nil
	}
	life, cancel := context.WithCancel(clientv3.WithRequireLeader(s.Life()))
	stop := context.AfterFunc(ctx, cancel)
	grpc, err := s.b.leases.LeaseKeepAlive(life)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		return nil, unavailable(err)
	}
	stream := &pulseStream{grpc: grpc, cancel: cancel}
	receive := func() {
		if stream.receive(s.pulsed, s.pulses.answered) { // servers stop, perhaps to be put back (E5)
			s.Hurry()
		}
	}
	if !s.pulses.start(stream, func() { s.b.goroutines.Go(receive) }) {
		cancel()
		return nil, context.Cause(s.Life())
	}
	return stream, nil
}

func (p *pulses) present() *pulseStream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stream == nil || p.stream.ended() {
		return nil
	}
	return p.stream
}

// start makes stream the present one, unless the session has ended.
func (p *pulses) start(stream *pulseStream, run func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.stream = stream
	if p.known == nil {
		p.known = stream // the session has not seen another store
	}
	run()
	return true
}

// know counts that the store behind a stream is as it was.
func (p *pulses) know(stream *pulseStream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = stream
}

// knows says whether that is so.
func (p *pulses) knows(stream *pulseStream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known == stream
}

// steady says whether the stream that is known has not ended since.
func (p *pulses) steady() bool {
	present := p.present()
	return present != nil && p.knows(present)
}

// retire gives a stream up, but for its late replies, and what was retired
// before altogether.
func (p *pulses) retire(stream *pulseStream) {
	p.mu.Lock()
	var old *pulseStream
	if p.stream == stream {
		p.stream, old, p.retired = nil, p.retired, stream
	}
	p.mu.Unlock()
	old.fail(errStream)
}

// answered ends a retired stream that has nothing on its way.
func (p *pulses) answered(stream *pulseStream) {
	p.mu.Lock()
	over := p.retired == stream
	p.mu.Unlock()
	if over && stream.idle() {
		stream.fail(errStream)
	}
}

func (p *pulses) close() {
	p.mu.Lock()
	stream, retired := p.stream, p.retired
	p.closed = true
	p.mu.Unlock()
	stream.fail(errStream)
	retired.fail(errStream)
}

func (st *pulseStream) send(p *pulse, req *pb.LeaseKeepAliveRequest) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		return st.err
	}
	p.sent = backend.Now()
	st.sent = append(st.sent, p)
	return st.grpc.Send(req)
}

// receive gives each reply to the pulse that was sent first. It says whether the stream
// ended of itself with nothing on its way, whose sender would know.
func (st *pulseStream) receive(pulsed func(*pulse), answered func(*pulseStream)) (unseen bool) {
	for {
		reply, err := st.grpc.Recv()
		if err != nil {
			return st.fail(err)
		}
		if p := st.first(); p != nil {
			p.ttl, p.head = time.Duration(reply.TTL)*time.Second, reply.Header
			pulsed(p)
			answered(st)
		}
	}
}

func (st *pulseStream) first() *pulse {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.sent) == 0 {
		return nil
	}
	p := st.sent[0]
	st.sent = st.sent[1:]
	return p
}

// fail ends the stream, and with it what is on its way. It says whether it had not ended
// before, and nothing was.
func (st *pulseStream) fail(err error) (unseen bool) {
	if st == nil {
		return false
	}
	st.cancel()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err != nil {
		return false
	}
	st.err, unseen = err, len(st.sent) == 0
	for _, p := range st.sent {
		p.err = err
		close(p.done)
	}
	st.sent = nil
	return unseen
}

func (st *pulseStream) idle() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.sent) == 0
}

func (st *pulseStream) ended() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err != nil
}
