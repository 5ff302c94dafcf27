//go:build linux

package flannel

import (
	"errors"
	"io"
	"net"
	"net/url"
	"sync"

	"routewatch/deploy/lab/netns"
)

// proxy makes a server on this machine's loopback reachable at the same address
// inside a network namespace, which has no other way to it. Kubelet's and
// flannel's connections to an API server do not use the pod network either.
type proxy struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	conns    map[net.Conn]bool
	wait     sync.WaitGroup
}

func newProxy(ns *netns.NS, address string) (*proxy, error) {
	p := &proxy{target: address, conns: map[net.Conn]bool{}}
	err := ns.Do(func() (err error) {
		p.listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.wait.Go(p.serve)
	return p, nil
}

func (p *proxy) serve() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.wait.Go(func() { p.forward(in) })
	}
}

// forward copies both ways until either side ends; a server that is down shows
// as a connection that ends at once.
func (p *proxy) forward(in net.Conn) {
	defer p.forget(in)
	out, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.forget(out)
	if !p.keep(in) || !p.keep(out) {
		return
	}
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // the programs see that it ended
			done <- struct{}{}
		}()
	}
	<-done
}

// keep remembers an open connection; it reports false once the proxy is closed.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close() // it carried what it could
}

func (p *proxy) close() error {
	err := p.listener.Close()
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for c := range conns {
		err = errors.Join(err, c.Close())
	}
	p.wait.Wait()
	return err
}

// hostPort is that of a URL that names both.
func hostPort(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}
