//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
)

// post sends datagrams from one pod to another and watches both the other pod
// and the default gateway, where those that leak turn up.
type post struct {
	from, to   netip.AddrPort
	client     net.PacketConn
	server     net.PacketConn
	gateway    *os.File // a packet socket
	deliveries chan delivery
	count      int
}

// delivery is a datagram that was seen somewhere.
type delivery struct {
	leaked  bool // seen at the gateway, without any encapsulation
	payload string
}

// fate is what became of a datagram.
type fate struct {
	arrived, leaked bool
	after           time.Duration // until it was seen
}

const (
	postPort       = 7777
	resendInterval = 20 * time.Millisecond
	// lateness is how long the other place is watched after one has seen the datagram.
	lateness = 50 * time.Millisecond
)

// newPost opens the sockets; gateway is the namespace of the default gateway.
func newPost(source *netns.NS, from netip.Addr, target *netns.NS, to netip.Addr, gateway *netns.NS) (p *post, err error) {
	p = &post{from: netip.AddrPortFrom(from, postPort), to: netip.AddrPortFrom(to, postPort), deliveries: make(chan delivery, 64)}
	err = errors.Join(
		source.Do(func() (err error) { p.client, err = net.ListenPacket("udp", p.from.String()); return err }),
		target.Do(func() (err error) { p.server, err = net.ListenPacket("udp", p.to.String()); return err }),
		gateway.Do(func() (err error) { p.gateway, err = listenIPv4(); return err }),
	)
	if err != nil {
		p.close()
		return nil, fmt.Errorf("open the pods' sockets: %w", err)
	}
	go p.watchPod()
	go p.watchGateway()
	return p, nil
}

func (p *post) close() {
	if p.client != nil {
		_ = p.client.Close()
	}
	if p.server != nil {
		_ = p.server.Close()
	}
	if p.gateway != nil {
		_ = p.gateway.Close()
	}
}

// listenIPv4 returns a socket that reads every IPv4 packet that comes into the
// namespace, without its Ethernet header.
func listenIPv4() (*os.File, error) {
	protocol := uint16(unix.ETH_P_IP>>8 | unix.ETH_P_IP<<8&0xff00) // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return os.NewFile(uintptr(fd), "packet socket"), nil
}

func (p *post) watchPod() {
	buf := make([]byte, 1500)
	for {
		n, _, err := p.server.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		p.deliveries <- delivery{payload: string(buf[:n])}
	}
}

func (p *post) watchGateway() {
	buf := make([]byte, 1500)
	for {
		n, err := p.gateway.Read(buf)
		if err != nil {
			return // closed
		}
		if payload, ok := p.plain(buf[:n]); ok {
			p.deliveries <- delivery{leaked: true, payload: payload}
		}
	}
}

// plain returns the payload of an IPv4 packet that is the pod's own datagram,
// not one inside a vxlan tunnel.
func (p *post) plain(packet []byte) (string, bool) {
	const udp = 17
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[9] != udp {
		return "", false
	}
	header := int(packet[0]&0x0f) * 4
	src, dst := p.from.Addr().As4(), p.to.Addr().As4()
	if len(packet) < header+8 || !bytes.Equal(packet[12:16], src[:]) || !bytes.Equal(packet[16:20], dst[:]) {
		return "", false
	}
	return string(packet[header+8:]), true
}

// send sends a datagram, again and again since any may be lost, until it is
// seen or the time is over.
func (p *post) send(limit time.Duration) (fate, error) {
	p.count++
	payload := fmt.Sprintf("datagram %d from %s", p.count, p.from.Addr())
	if err := p.write(payload); err != nil {
		return fate{}, err
	}
	var f fate
	start := time.Now()
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(resendInterval)
	defer again.Stop()
	for {
		select {
		case d := <-p.deliveries:
			if d.payload != payload {
				continue // a late copy of an earlier one
			}
			if !f.arrived && !f.leaked {
				f.after = time.Since(start)
				end.Reset(lateness)
			}
			f.arrived, f.leaked = f.arrived || !d.leaked, f.leaked || d.leaked
		case <-again.C:
			if err := p.write(payload); err != nil {
				return fate{}, err
			}
		case <-end.C:
			return f, nil
		}
	}
}

func (p *post) write(payload string) error {
	if _, err := p.client.WriteTo([]byte(payload), net.UDPAddrFromAddrPort(p.to)); err != nil {
		return fmt.Errorf("send a datagram to %s: %w", p.to.Addr(), err)
	}
	return nil
}
