package kernel

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// maxSpans is how many ranges of destinations are told apart in a dump.
const maxSpans = 8

// foreigns tells most of the routes that concern nobody from their bytes alone:
// of a dump with a million routes nearly all are such, and to decode one takes
// longer than the kernel needs to deliver it. It never takes a route for foreign
// that a sieve would keep; what is left, and whatever is odd, is decoded.
type foreigns struct {
	spans   *spans
	flannel []int // the flannel devices
}

// spans are the ranges of destinations that may be of interest.
type spans struct{ ipv4, ipv6 []span }

// span is a range of destinations by their first 64 bits, those of IPv4 being
// followed by zeros.
type span struct{ first, last uint64 }

// spansOf covers all that interest.keeps asks of a destination, and more.
func (i *interest) spansOf() *spans {
	all := newPrefixSet(slices.Concat(i.Subnets, i.Networks))
	of := func(f netstate.Family) (s []span) {
		for _, r := range atMost(maxSpans, all.rangesOf(f.Bits())) {
			s = append(s, span{head(r.first), head(r.last) | tail(f.Bits())})
		}
		return s
	}
	return &spans{of(netstate.IPv4), of(netstate.IPv6)}
}

// head is the first 64 bits of an address.
func head(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:])) << 32
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:])
}

// tail has the bits of 64 set that come after so many.
func tail(bits int) uint64 {
	if bits >= 64 {
		return 0
	}
	return math.MaxUint64 >> bits
}

// foreign reports whether a route is of no interest: b is struct rtmsg and its
// attributes.
func (f *foreigns) foreign(b []byte) bool {
	if len(b) < unix.SizeofRtMsg || b[1] == 0 {
		return false
	}
	var wanted []span
	addr := 4
	switch b[0] {
	case unix.AF_INET:
		wanted = f.spans.ipv4
	case unix.AF_INET6:
		wanted, addr = f.spans.ipv6, 16
	default:
		return false
	}
	var dst uint64
	var device uint32
	var found int
	for rest := b[unix.SizeofRtMsg:]; len(rest) >= unix.SizeofNlAttr+4; {
		n := int(native.Uint16(rest))
		switch native.Uint16(rest[2:]) {
		case unix.RTA_DST:
			if n != unix.SizeofNlAttr+addr || n > len(rest) {
				return false
			}
			if addr == 4 {
				dst = uint64(binary.BigEndian.Uint32(rest[4:])) << 32
			} else {
				dst = binary.BigEndian.Uint64(rest[4:])
			}
			found |= 1
		case unix.RTA_OIF:
			device = native.Uint32(rest[4:])
			found |= 2
		}
		if n < unix.SizeofNlAttr || align4(n) > len(rest) {
			break
		}
		rest = rest[align4(n):]
	}
	if found != 3 { // a route with several hops names no device here
		return false
	}
	last := dst | tail(int(b[1]))
	for _, s := range wanted {
		if dst <= s.last && last >= s.first {
			return false
		}
	}
	return !slices.Contains(f.flannel, int(int32(device)))
}
