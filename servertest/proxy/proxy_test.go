// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/golocker/locker/servertest/backendtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slack is how long an event may take on a loaded machine.
const slack = 20 * time.Second

// short is how long nothing must happen. It proves little on a slow machine
// and can never fail there.
const short = 100 * time.Millisecond

// An upper answers each line with the same line in capitals, and keeps a list
// of what it has got.
type upper struct {
	net.Listener
	running sync.WaitGroup
	mu      sync.Mutex
	got     []string
	ends    int
	conns   []net.Conn
}

func startUpper(t *testing.T) *upper {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upper{Listener: l}
	u.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.conns = append(u.conns, c)
			u.mu.Unlock()
			u.running.Go(func() { u.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		u.mu.Lock()
		for _, c := range u.conns {
			_ = c.Close()
		}
		u.mu.Unlock()
		u.running.Wait()
	})
	return u
}

func (u *upper) serve(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewReader(c); ; {
		line, err := lines.ReadString('\n')
		u.mu.Lock()
		if err != nil {
			u.ends++
			u.mu.Unlock()
			return
		}
		u.got = append(u.got, strings.TrimSpace(line))
		u.mu.Unlock()
		if _, err := io.WriteString(c, strings.ToUpper(line)); err != nil {
			return
		}
	}
}

func (u *upper) has(line string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, got := range u.got {
		if got == line {
			return true
		}
	}
	return false
}

func (u *upper) ended() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.ends
}

// eventually polls, since the proxy works beside the test.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	backendtest.Within(t, slack, what, holds)
}

type conn struct {
	*net.TCPConn
	t     *testing.T
	lines *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &conn{TCPConn: c.(*net.TCPConn), t: t, lines: bufio.NewReader(c)}
}

func (c *conn) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		c.t.Fatalf("send %q: %v", line, err)
	}
}

func (c *conn) receive(d time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(d))
	line, err := c.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (c *conn) want(line string) {
	c.t.Helper()
	if got, err := c.receive(slack); got != line || err != nil {
		c.t.Fatalf("received %q, %v; want %q", got, err, line)
	}
}

func (c *conn) silent() {
	c.t.Helper()
	if got, err := c.receive(short); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("received %q, %v; want silence", got, err)
	}
}

func (c *conn) ended(with error) {
	c.t.Helper()
	if got, err := c.receive(slack); !errors.Is(err, with) {
		c.t.Fatalf("received %q, %v; want %v", got, err, with)
	}
}

func setUp(t *testing.T) (*upper, *Proxy) {
	t.Helper()
	u := startUpper(t)
	return u, Start(t, u.Addr().String(), RESP)
}

func heal(t *testing.T, p *Proxy) {
	t.Helper()
	if err := p.Heal(); err != nil {
		t.Fatal(err)
	}
}

func TestForwardsAndCounts(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	c := dial(t, p)
	c.send("a\nb") // a pipeline of two
	c.want("A")
	c.want("B")
	if p.Requests() != 2 || p.Opened() != 1 || p.Open() != 1 {
		t.Errorf("counted %d requests, %d opened, %d open; want 2, 1, 1", p.Requests(), p.Opened(), p.Open())
	}
	_ = c.Close()
	eventually(t, "the closed connection is not counted as open", func() bool { return p.Open() == 0 })
	if p.Opened() != 1 {
		t.Errorf("opened %d, want 1", p.Opened())
	}
}

func TestWatchSeesRequests(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	seen := make(chan string, 9)
	p.Watch(func(request []byte) { seen <- string(request) })
	c := dial(t, p)
	c.send("a")
	c.want("A")
	if got := <-seen; got != "a\n" {
		t.Errorf("saw %q", got)
	}
}

func TestClientsEndReachesServer(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	_ = c.Close()
	eventually(t, "the server sees the end", func() bool { return u.ended() == 1 })
}

func TestDeadUpstreamResets(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	_ = u.Close()
	c, err := net.Dial("tcp", p.Addr())
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		_ = c.Close()
	} // else the reset was faster than the dial
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestSetUpstream(t *testing.T) {
	t.Parallel()
	first, p := setUp(t)
	second := startUpper(t)
	old := dial(t, p)
	old.send("a")
	old.want("A")
	p.SetUpstream(second.Addr().String())
	c := dial(t, p)
	c.send("b")
	c.want("B")
	old.send("c")
	old.want("C")
	if first.has("b") || !second.has("b") || !first.has("c") {
		t.Errorf("first got %q, second %q", first.got, second.got)
	}
}

func TestSever(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	p.Sever()
	c.ended(io.EOF)
	eventually(t, "the server sees the end", func() bool { return u.ended() == 1 })
	again := dial(t, p)
	again.send("b")
	again.want("B")
}

func TestReset(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	p.Reset()
	c.ended(syscall.ECONNRESET)
	again := dial(t, p)
	again.send("b")
	again.want("B")
}

func TestHangUp(t *testing.T) {
	t.Parallel()
	up, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	p.HangUp()
	eventually(t, "the server's side has ended", func() bool { return up.ended() == 1 })
	c.silent()
	heal(t, p)
	c.ended(io.EOF)
	again := dial(t, p)
	again.send("b")
	again.want("B")
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	p.Refuse()
	c.ended(io.EOF)
	if got, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dialled %v, %v; want a refusal", got, err)
	}
	heal(t, p)
	again := dial(t, p)
	again.send("b")
	again.want("B")
}

// The port of a proxy that refuses is given to no other.
func TestRefuseKeepsPort(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	p.Refuse()
	for range 60_000 { // six times as many as there are
		l, err := listenLow()
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		taken.Delete(addr)
		if addr == p.Addr() {
			t.Fatal("another got it")
		}
	}
	heal(t, p)
}

func TestDropReplies(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	p.DropReplies()
	c.send("b")
	eventually(t, "the server gets the request", func() bool { return u.has("b") })
	c.silent()
	heal(t, p)
	c.ended(io.EOF) // its stream has a hole
	again := dial(t, p)
	again.send("c")
	again.want("C")
}

func TestLoseReplies(t *testing.T) {
	_, p := setUp(t)
	p.LoseReplies(3)
	a, b := dial(t, p), dial(t, p)
	a.send("one")
	a.want("ONE")
	b.send("two")
	b.want("TWO")
	a.send("three") // the third reply, and what follows it
	a.silent()
	a.send("four")
	a.silent()
	b.send("five") // the first of the next three
	b.want("FIVE")
	heal(t, p)
	a.ended(io.EOF)
	b.send("six")
	b.want("SIX")
}

func TestDropRequests(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	c, idle := dial(t, p), dial(t, p)
	c.send("a")
	c.want("A")
	idle.send("i")
	idle.want("I")
	p.DropRequests()
	c.send("b")
	eventually(t, "the request is counted", func() bool { return p.Requests() == 3 })
	c.silent()
	heal(t, p)
	c.ended(io.EOF)
	if u.has("b") {
		t.Error("the server got a dropped request")
	}
	idle.send("j") // it has lost nothing
	idle.want("J")
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	c, idle := dial(t, p), dial(t, p)
	c.send("a")
	c.want("A")
	idle.send("i")
	idle.want("I")
	p.BlackHole()
	c.send("b")
	c.silent()
	fresh := dial(t, p)
	fresh.send("n")
	fresh.silent()
	gone := dial(t, p)
	gone.send("g")
	_ = gone.Close()
	_ = idle.Close()
	fresh.silent()
	if u.has("b") || u.has("n") || u.ended() != 0 {
		t.Error("something passed the black hole")
	}
	heal(t, p)
	c.want("B") // a retransmission
	fresh.want("N")
	eventually(t, "what a client sent before it went arrives", func() bool { return u.has("g") })
}

func TestDelay(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	const d = 50 * time.Millisecond
	p.Delay(d)
	start := time.Now()
	const requests = 200
	for i := range requests {
		c.send(fmt.Sprint("b", i))
	}
	c.want("B0")
	if took := time.Since(start); took < 2*d {
		t.Errorf("a round trip took %v, want at least %v", took, 2*d)
	}
	for i := range requests - 1 {
		c.want(fmt.Sprint("B", i+1))
	}
	if took := time.Since(start); took > requests*d { // delayed together, not one after the other
		t.Errorf("%d requests in flight took %v", requests, took)
	}
	heal(t, p)
	c.send("c")
	c.want("C")
}

func TestDelayOne(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	const long = time.Hour
	p.DelayOne(ToClient, long)
	c.send("b")
	eventually(t, "the server gets the request at once", func() bool { return u.has("b") })
	c.silent()
	p.DelayOne(ToClient, 0)
	p.DelayOne(ToServer, long)
	other := dial(t, p)
	other.send("c")
	other.silent()
	if u.has("c") {
		t.Error("the request was not delayed")
	}
}

func TestCutAfter(t *testing.T) {
	t.Parallel()
	t.Run("reply", func(t *testing.T) {
		t.Parallel()
		_, p := setUp(t)
		c := dial(t, p)
		p.CutAfter(ToClient, 5) // "A\nBCD", then the end
		c.send("a")
		c.want("A")
		c.send("bcdef")
		if got, err := c.receive(slack); got != "BCD" || !errors.Is(err, io.EOF) {
			t.Errorf("received %q, %v; want BCD and the end", got, err)
		}
		again := dial(t, p) // it happens once
		again.send("ghijklm")
		again.want("GHIJKLM")
	})
	t.Run("request", func(t *testing.T) {
		t.Parallel()
		u, p := setUp(t)
		c := dial(t, p)
		p.CutAfter(ToServer, 0)
		c.send("a")
		c.ended(io.EOF)
		if u.has("a") {
			t.Error("the request passed")
		}
	})
}

// TestHoldOutlivesClient is the schedule of a request that arrives after its
// client has timed out, hung up and cleaned up by another connection.
func TestHoldOutlivesClient(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*Proxy, *conn){
		"closed":  func(_ *Proxy, c *conn) { _ = c.Close() },
		"aborted": func(_ *Proxy, c *conn) { _ = c.SetLinger(0); _ = c.Close() },
		"severed": func(p *Proxy, _ *conn) { p.Sever() },
		"reset":   func(p *Proxy, _ *conn) { p.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, p := setUp(t)
			c := dial(t, p)
			held := p.Hold(func(request []byte) bool { return bytes.HasPrefix(request, []byte("enqueue")) })
			c.send("a")
			c.want("A")
			c.send("enqueue")
			<-held.Caught()
			end(p, c)
			eventually(t, "the client is gone", func() bool { return p.Open() == 0 })
			other := dial(t, p)
			other.send("withdraw")
			other.want("WITHDRAW")
			if u.has("enqueue") || u.ended() != 0 {
				t.Fatal("the request was not held, or its connection was not")
			}
			if err := held.Release(); err != nil {
				t.Fatal(err)
			}
			<-held.Replied()
			if !u.has("enqueue") {
				t.Fatal("answered before the server got the request")
			}
			eventually(t, "the client's end follows the reply", func() bool { return u.ended() == 1 })
		})
	}
}

// TestHoldIsNotHungUpOn has a server that looks for its client's end before it
// answers, as HTTP servers do, and does nothing then.
func TestHoldIsNotHungUpOn(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := Start(t, l.Addr().String(), RESP)
	held := p.Hold(nil)
	c := dial(t, p)
	c.send("enqueue")
	<-held.Caught()
	p.Sever()
	eventually(t, "the client is gone", func() bool { return p.Open() == 0 })
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	if _, err := io.WriteString(server, "PUSH\n"); err != nil { // to nobody
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(short))
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("before the release the server saw %v", err)
	}
	_ = server.SetReadDeadline(time.Now().Add(slack))
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(server)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(short))
	if _, err := lines.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("before the reply the server saw %v", err)
	}
	if _, err := io.WriteString(server, "ENQUEUE\n"); err != nil {
		t.Fatal(err)
	}
	<-held.Replied()
	_ = server.SetReadDeadline(time.Now().Add(slack))
	if _, err := lines.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatalf("after the reply the server saw %v, want the end", err)
	}
}

func TestHoldKeepsOrder(t *testing.T) {
	t.Parallel()
	u, p := setUp(t)
	held := p.Hold(nil)
	c := dial(t, p)
	c.send("a\nb")
	<-held.Caught()
	c.silent()
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	c.want("A")
	c.want("B")
	second := p.Hold(nil) // on the same connection
	c.send("c")
	<-second.Caught()
	if u.has("c") {
		t.Error("the second request was not held")
	}
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
	<-second.Replied()
	c.want("C")
}

func TestReleaseUnused(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	if err := p.Hold(nil).Release(); !errors.Is(err, errNothing) {
		t.Fatalf("got %v, want %v", err, errNothing)
	}
	c := dial(t, p)
	c.send("a")
	c.want("A")
}

func TestReleaseAfterClose(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	held := p.Hold(nil)
	c := dial(t, p)
	c.send("a")
	<-held.Caught()
	p.Close()
	if err := held.Release(); err == nil {
		t.Error("released into a closed proxy without an error")
	}
}

func TestCloseEndsAll(t *testing.T) {
	t.Parallel()
	_, p := setUp(t)
	c := dial(t, p)
	c.send("a")
	c.want("A")
	p.BlackHole()
	hanging := dial(t, p)
	hanging.send("h")
	p.Close()
	c.ended(io.EOF)
	p.Close() // again
	if err := p.Heal(); err != nil {
		t.Errorf("heal after close: %v", err)
	}
}
