//go:build linux

package traffic

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// Places of capture; any other is the name of a node.
const (
	placeGateway = "gateway"
	placePod     = "pod of "
)

// underlay is the device of a node that leads to the other nodes, as package
// topology names it.
const underlay = "ens33"

// Kinds of packets (PACKET_* of linux/if_packet.h).
const (
	host     = "host" // for this machine
	outgoing = "outgoing"
	other    = "other" // for another one, or for many
)

// Sighting is a packet with a token that a capture saw.
type Sighting struct {
	Where        string // name of a node, "pod of " and one, or "gateway"
	Device       string
	Kind         string
	Request      bool         // not an answer
	DstMAC       netstate.MAC // zero on a device without link layer
	Encapsulated bool         // the rest is of the inner frame
	VNI          uint32
	InnerMAC     netstate.MAC // its destination; zero where a packet is inside, and no frame
}

// String is for a person.
func (s Sighting) String() string {
	what := "answer"
	if s.Request {
		what = "request"
	}
	if s.Encapsulated {
		what = "encapsulated " + what
	}
	return fmt.Sprintf("%s on %s of %s (%s to %s)", what, s.Device, s.Where, s.Kind, s.DstMAC)
}

func isFlannel(device string) bool { return strings.HasPrefix(device, "flannel") }

// isPods reports whether a device leads to pods.
func isPods(device string) bool {
	return strings.HasPrefix(device, "cni") || strings.HasPrefix(device, "veth") || strings.HasPrefix(device, "cali")
}

// capture reads every packet of a network namespace, on all of its devices,
// those that come later included.
type capture struct {
	ns      *netns.NS
	where   string
	file    *os.File
	deliver func(token, Sighting)
	names   map[int]string // of devices by ifindex
	wait    sync.WaitGroup
}

// bufferSize of a capture's socket, in bytes: seconds of all that the lab sends.
const bufferSize = 4 << 20

func newCapture(ns *netns.NS, where string, deliver func(token, Sighting)) (*capture, error) {
	c := &capture{ns: ns, where: where, deliver: deliver, names: map[int]string{}}
	all := uint16(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00) // network byte order
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		c.file = os.NewFile(uintptr(fd), "packet socket")
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize))
	})
	if err != nil {
		return nil, err
	}
	conn, err := c.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	c.wait.Go(func() { c.read(conn) })
	return c, nil
}

func (c *capture) close() {
	_ = c.file.Close() // ends read
	c.wait.Wait()
}

func (c *capture) read(conn syscall.RawConn) {
	buf := make([]byte, 2048)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buf, 0)
			return failed != unix.EAGAIN
		})
		if err != nil {
			return // closed
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if failed == nil && ok {
			c.take(buf[:n], link)
		}
	}
}

func (c *capture) take(frame []byte, from *unix.SockaddrLinklayer) {
	t, ok := tokenIn(frame)
	if !ok {
		return
	}
	s := Sighting{Where: c.where, Device: c.name(from.Ifindex), Kind: kindOf(from.Pkttype)}
	packet := frame
	if from.Hatype == unix.ARPHRD_ETHER && len(frame) > 14 {
		copy(s.DstMAC[:], frame)
		packet = frame[14:]
	}
	if parse(packet, &s) {
		c.deliver(t, s)
	}
}

// name of a device. One that was made and removed since the last packet is
// asked for anew; a number is used again only for another namespace's.
func (c *capture) name(index int) string {
	if name, ok := c.names[index]; ok {
		return name
	}
	links, err := c.ns.Links()
	if err != nil {
		return fmt.Sprintf("device %d", index)
	}
	for _, l := range links {
		c.names[l.Index] = l.Name
	}
	return c.names[index]
}

func kindOf(pkttype uint8) string {
	switch pkttype {
	case unix.PACKET_HOST:
		return host
	case unix.PACKET_OUTGOING:
		return outgoing
	}
	return other
}

// Numbers of IP protocols and of messages (RFC 792, RFC 4443).
const (
	protocolICMP, protocolUDP, protocolICMPv6 = 1, 17, 58

	echoRequest, echoReply     = 8, 0
	echoRequestV6, echoReplyV6 = 128, 129
)

// Lengths of headers, in bytes (RFC 768, RFC 7348).
const (
	headerUDP      = 8
	headerVXLAN    = 8
	headerEthernet = 14
)

// parse reads an IP packet that holds a token: an echo request or its answer,
// or one of these inside of a UDP datagram, as vxlan and flannel's udp send it.
func parse(packet []byte, s *Sighting) bool {
	protocol, body, ok := payload(packet)
	if !ok || len(body) == 0 {
		return false
	}
	switch protocol {
	case protocolICMP:
		s.Request = body[0] == echoRequest
		return s.Request || body[0] == echoReply
	case protocolICMPv6:
		s.Request = body[0] == echoRequestV6
		return s.Request || body[0] == echoReplyV6
	case protocolUDP:
		if len(body) < headerUDP+headerVXLAN+headerEthernet {
			return false
		}
		s.Encapsulated = true
		if parse(body[headerUDP:], s) {
			return true
		}
		vxlan, frame := body[headerUDP:], body[headerUDP+headerVXLAN:]
		s.VNI = binary.BigEndian.Uint32(vxlan[4:]) >> 8
		copy(s.InnerMAC[:], frame)
		return parse(frame[headerEthernet:], s)
	}
	return false
}

// payload of an IP packet. None of the lab's has extension headers.
func payload(packet []byte) (protocol byte, body []byte, ok bool) {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		header := int(packet[0]&0x0f) * 4
		if total := int(binary.BigEndian.Uint16(packet[2:])); header < 20 || total > len(packet) || header > total {
			return 0, nil, false
		}
		return packet[9], packet[header:], true
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return packet[6], packet[40:], true
	}
	return 0, nil, false
}
