//go:build linux

package traffic

import (
	"net/netip"
	"testing"

	"routewatch/shared/netstate"
)

// ipv4 is a packet with a body.
func ipv4(protocol byte, body ...byte) []byte {
	b := make([]byte, 20, 20+len(body))
	b[0], b[3], b[9] = 0x45, byte(20+len(body)), protocol
	copy(b[12:], netip.MustParseAddr("10.244.1.2").AsSlice())
	copy(b[16:], netip.MustParseAddr("10.244.3.2").AsSlice())
	return append(b, body...)
}

func ipv6(protocol byte, body ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 0x60, protocol
	return append(b, body...)
}

// Requests and answers are told apart, plain and inside of tunnels, and nothing
// that is cut off or no ping is taken for one.
func TestParse(t *testing.T) {
	mac := netstate.MAC{2, 0, 0, 0, 0, 3}
	udp := make([]byte, headerUDP)
	frame := append(append([]byte{8, 0, 0, 0, 0, 0, 7, 0}, mac[:]...), 2, 0, 0, 0, 0, 1, 8, 0) // vxlan with VNI 7, Ethernet
	ping := ipv4(protocolICMP, echoRequest, 0, 0, 0)
	vxlan := ipv4(protocolUDP, append(append(udp, frame...), ping...)...)
	for name, tt := range map[string]struct {
		packet []byte
		want   Sighting
		no     bool
	}{
		"request":            {packet: ping, want: Sighting{Request: true}},
		"answer":             {packet: ipv4(protocolICMP, echoReply, 0, 0, 0)},
		"unreachable":        {packet: ipv4(protocolICMP, 3, 0, 0, 0), no: true},
		"IPv6 request":       {packet: ipv6(protocolICMPv6, echoRequestV6, 0), want: Sighting{Request: true}},
		"IPv6 answer":        {packet: ipv6(protocolICMPv6, echoReplyV6, 0)},
		"solicitation":       {packet: ipv6(protocolICMPv6, 135, 0), no: true},
		"vxlan":              {packet: vxlan, want: Sighting{Request: true, Encapsulated: true, VNI: 7, InnerMAC: mac}},
		"flannel's udp":      {packet: ipv4(protocolUDP, append(udp, ping...)...), want: Sighting{Request: true, Encapsulated: true}},
		"TCP":                {packet: ipv4(6, 1, 2, 3, 4), no: true},
		"vxlan, cut off":     {packet: vxlan[:40], no: true},
		"a wrong length":     {packet: append([]byte{0x45, 0, 0, 200}, ping[4:]...), no: true},
		"a header too short": {packet: append([]byte{0x41}, ping[1:]...), no: true},
		"empty":              {no: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got Sighting
			ok := parse(tt.packet, &got)
			if ok == tt.no || ok && got != tt.want {
				t.Errorf("got %+v, %t; want %+v, %t", got, ok, tt.want, !tt.no)
			}
		})
	}
}
