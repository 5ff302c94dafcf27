package kube

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"routewatch/shared/lease"
)

func TestMain(m *testing.M) {
	// client-go's handler of errors slows itself down by the time of the last
	// one: in a bubble, where it is the year 2000, by many years.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
	goleak.VerifyTestMain(m)
}

// pipes is a network without a kernel, so that a test can run in a bubble of
// fake time. It is a net.Listener.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}

	mu     sync.Mutex
	down   bool // connections are refused
	lose   bool // connections deliver nothing, and say nothing of it
	opened []net.Conn
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 6443} }

func (p *pipes) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	p.mu.Lock()
	down := p.down
	p.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: p.Addr(), Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	select {
	case p.conns <- lossy{server, p}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	p.opened = append(p.opened, server)
	p.mu.Unlock()
	return lossy{client, p}, nil
}

// lossy is one end of a connection.
type lossy struct {
	net.Conn
	pipes *pipes
}

func (l lossy) Write(b []byte) (int, error) {
	l.pipes.mu.Lock()
	lose := l.pipes.lose
	l.pipes.mu.Unlock()
	if lose {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

func (p *pipes) swallow(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = yes
}

// kill is the end of the API server: connections break, new ones are refused.
func (p *pipes) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.opened {
		_ = c.Close()
	}
	p.opened = nil
}

func (p *pipes) revive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// watched is a Watch that runs in a bubble.
type watched struct {
	*server
	*pipes
	source *Source
	sets   chan lease.Set
}

const self = "me"

// inBubble runs f beside a Watch of the server.
func inBubble(t *testing.T, s func() *server, f func(t *testing.T, w *watched)) {
	t.Helper()
	bubble(t, s, (*http.Server).Serve, func(*testing.T) Config { return Config{APIServer: "http://10.0.0.1:6443"} }, f)
}

// inTLSBubble does so over TLS and HTTP/2, with a token from a file.
func inTLSBubble(t *testing.T, token string, s func() *server, f func(t *testing.T, w *watched)) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	write(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})))
	config := &tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2"}}
	certified.Close()
	bubble(t, s, func(h *http.Server, l net.Listener) error { h.TLSConfig = config; return h.ServeTLS(l, "", "") }, func(t *testing.T) Config {
		return Config{Kubeconfig: kubeconfig(t, `"server": "https://example.com", "certificate-authority": "`+ca+`"`, `"tokenFile": "`+token+`"`)}
	}, f)
}

func bubble(t *testing.T, s func() *server, serve func(*http.Server, net.Listener) error, config func(*testing.T) Config, f func(t *testing.T, w *watched)) {
	t.Helper()
	environment(t)
	cfg := config(t)
	synctest.Test(t, func(t *testing.T) {
		w := &watched{server: s(), pipes: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}, sets: make(chan lease.Set)}
		w.down = w.dead
		h := &http.Server{Handler: w.server, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = serve(h, w.pipes) }()
		var err error
		cfg.Options.Self, cfg.dial = self, w.dial
		w.source, err = New(cfg)
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.source.Watch(ctx, w.sets) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Watch: %v", err)
			}
			_ = h.Close()
			w.kill()
		}()
		f(t, w)
	})
}

// next returns the next set, which must come within d.
func (w *watched) next(t *testing.T, d time.Duration) lease.Set {
	t.Helper()
	select {
	case s := <-w.sets:
		return s
	case <-time.After(d):
		t.Fatalf("no set within %s", d)
		return lease.Set{}
	}
}

// until returns the first set that is as wanted, which must come within d.
func (w *watched) until(t *testing.T, d time.Duration, what string, is func(lease.Set) bool) lease.Set {
	t.Helper()
	var last lease.Set
	for deadline := time.After(d); ; {
		select {
		case last = <-w.sets:
			if is(last) {
				return last
			}
		case <-deadline:
			t.Fatalf("no set within %s that is %s; the last: %+v", d, what, last)
		}
	}
}

// silent checks that there is no set for a while.
func (w *watched) silent(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case s := <-w.sets:
		t.Fatalf("unexpected set: %+v", s)
	case <-time.After(d):
	}
}

func complete(s lease.Set) bool   { return s.Complete }
func incomplete(s lease.Set) bool { return !s.Complete }

// peers names the peers of a set.
func peers(s lease.Set) []string {
	var names []string
	for _, l := range s.Leases {
		names = append(names, l.Peer)
	}
	return names
}
