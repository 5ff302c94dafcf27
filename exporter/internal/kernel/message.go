package kernel

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// errShort is what a message or attribute yields that ends before it should.
var errShort = errors.New("netlink message is truncated")

// native is the byte order of rtnetlink: the host's, except where a field is
// documented as being in network order.
var native = binary.NativeEndian

// header is struct nlmsghdr without its length.
type header struct {
	Type, Flags uint16
	Seq         uint32
	PortID      uint32 // of the requester of a change, 0 for the kernel
}

// nextMessage splits the first message off a datagram.
func nextMessage(b []byte) (h header, body, rest []byte, err error) {
	if len(b) < unix.NLMSG_HDRLEN {
		return header{}, nil, nil, errShort
	}
	n := int(native.Uint32(b))
	if n < unix.NLMSG_HDRLEN || n > len(b) {
		return header{}, nil, nil, errShort
	}
	h = header{
		Type:   native.Uint16(b[4:]),
		Flags:  native.Uint16(b[6:]),
		Seq:    native.Uint32(b[8:]),
		PortID: native.Uint32(b[12:]),
	}
	return h, b[unix.NLMSG_HDRLEN:n], b[min(align4(n), len(b)):], nil
}

// attrTypeMask removes NLA_F_NESTED and NLA_F_NET_BYTEORDER from nla_type.
const attrTypeMask = 0x3fff

// nextAttr splits the first attribute off b, which is not empty.
func nextAttr(b []byte) (typ uint16, value, rest []byte, err error) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil, errShort
	}
	n := int(native.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil, errShort
	}
	return native.Uint16(b[2:]) & attrTypeMask, b[unix.SizeofNlAttr:n], b[min(align4(n), len(b)):], nil
}

func align4(n int) int { return (n + 3) &^ 3 }

// appendAttr appends one attribute; it may alias nothing in b.
func appendAttr(b []byte, typ uint16, value []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = native.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, typ uint16, value uint32) []byte {
	b = native.AppendUint16(b, unix.SizeofNlAttr+4)
	b = native.AppendUint16(b, typ)
	return native.AppendUint32(b, value)
}

func appendAttrAddr(b []byte, typ uint16, a netip.Addr) []byte {
	if a.Is4() {
		v := a.As4()
		return appendAttr(b, typ, v[:])
	}
	v := a.As16()
	return appendAttr(b, typ, v[:])
}

// attr32 reads a 32-bit attribute.
func attr32(v []byte) (uint32, error) {
	if len(v) < 4 {
		return 0, errShort
	}
	return native.Uint32(v), nil
}

// attrAddr reads an address attribute of either family.
func attrAddr(v []byte) (netip.Addr, error) {
	switch len(v) {
	case 4:
		return netip.AddrFrom4([4]byte(v)), nil
	case 16:
		return netip.AddrFrom16([16]byte(v)), nil
	}
	return netip.Addr{}, errShort
}

// attrMAC reads a hardware address; one that is not 48 bits long (an IPv4
// tunnel's, say) is none.
func attrMAC(v []byte) netstate.MAC {
	if len(v) != 6 {
		return netstate.MAC{}
	}
	return netstate.MAC(v)
}

// attrString reads a NUL-terminated string.
func attrString(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

// familyOf translates an AF_ number; ok is false for families that flannel
// does not know (MPLS, bridge).
func familyOf(af uint8) (f netstate.Family, ok bool) {
	switch af {
	case unix.AF_INET:
		return netstate.IPv4, true
	case unix.AF_INET6:
		return netstate.IPv6, true
	}
	return 0, false
}

// addressFamily is the inverse of familyOf.
func addressFamily(f netstate.Family) uint8 {
	if f == netstate.IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// families are those that are read.
func families() [2]netstate.Family { return [2]netstate.Family{netstate.IPv4, netstate.IPv6} }
