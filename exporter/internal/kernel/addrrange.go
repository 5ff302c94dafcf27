package kernel

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// addrRange is all addresses from first to last, of one family.
type addrRange struct{ first, last netip.Addr }

// rangesOf returns the ranges that the members of one family fill, sorted and
// with something between each two: flannel's subnets often lie side by side.
func (s prefixSet) rangesOf(bitLen int) []addrRange {
	var ranges []addrRange
	for _, p := range s {
		if p.Addr().BitLen() != bitLen {
			continue
		}
		r := addrRange{p.Masked().Addr(), lastAddr(p)}
		if n := len(ranges); n > 0 && ranges[n-1].last.Next() == r.first {
			ranges[n-1].last = r.last
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// atMost joins neighbors until no more than max ranges are left: those with the
// least between them, so that no other max ranges hold less beyond the members.
func atMost(max int, ranges []addrRange) []addrRange {
	if len(ranges) <= max {
		return ranges
	}
	type gap struct {
		after     int // the range before it
		high, low uint64
	}
	gaps := make([]gap, len(ranges)-1)
	for i := range gaps {
		gaps[i].after = i
		gaps[i].high, gaps[i].low = distance(ranges[i].last, ranges[i+1].first)
	}
	slices.SortFunc(gaps, func(a, b gap) int {
		return cmp.Or(cmp.Compare(b.high, a.high), cmp.Compare(b.low, a.low), cmp.Compare(a.after, b.after))
	})
	gaps = gaps[:max-1]
	slices.SortFunc(gaps, func(a, b gap) int { return cmp.Compare(a.after, b.after) })
	joined := make([]addrRange, 0, max)
	first := ranges[0].first
	for _, g := range gaps {
		joined = append(joined, addrRange{first, ranges[g.after].last})
		first = ranges[g.after+1].first
	}
	return append(joined, addrRange{first, ranges[len(ranges)-1].last})
}

// distance returns b - a as a number of 128 bits.
func distance(a, b netip.Addr) (high, low uint64) {
	x, y := a.As16(), b.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(y[8:]), binary.BigEndian.Uint64(x[8:]), 0)
	high, _ = bits.Sub64(binary.BigEndian.Uint64(y[:8]), binary.BigEndian.Uint64(x[:8]), borrow)
	return high, low
}

// lastAddr returns the highest address in p.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := range b {
		if n := max(0, p.Bits()-8*i); n < 8 {
			b[i] |= 0xff >> n
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
