//go:build linux

package traffic

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"

	"routewatch/deploy/lab/netns"
)

// sender sends echo requests from a pod.
type sender struct {
	conn net.PacketConn // a raw socket
	v6   bool
}

func newSender(pod *netns.NS, addr netip.Addr) (s *sender, err error) {
	s = &sender{v6: addr.Is6()}
	network := "ip4:icmp"
	if s.v6 {
		network = "ip6:ipv6-icmp"
	}
	err = pod.Do(func() error {
		s.conn, err = net.ListenPacket(network, addr.String())
		return err
	})
	return s, err
}

func (s *sender) close() { _ = s.conn.Close() }

func (s *sender) send(to netip.Addr, t token) error {
	message := []byte{echoRequest, 0, 0, 0, 0, 0, 0, 0} // type, code, checksum, identifier, sequence
	if s.v6 {
		message[0] = echoRequestV6 // whose checksum the kernel makes
	}
	binary.BigEndian.PutUint16(message[4:], uint16(os.Getpid()))
	message = append(append(message, magic...), t[:]...)
	if !s.v6 {
		binary.BigEndian.PutUint16(message[2:], checksum(message))
	}
	_, err := s.conn.WriteTo(message, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
