package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

const (
	// maxRanges is how many ranges of addresses the filter tells apart in one
	// family, if rangeBudget allows.
	maxRanges = 40
	// rangeBudget bounds the instructions for them. Kernels before 6.8 allow
	// 20 KiB for the filters of a socket (net.core.optmem_max), which has two
	// while one replaces the other, and make more instructions of these.
	rangeBudget = 200
)

// destinationTests makes the part of the filter that depends on the interest
// alone, for each family: it accepts the routes to, over and in what the
// interest names, and goes on with the others.
func (i *interest) destinationTests() map[netstate.Family]code {
	wanted := newPrefixSet(append(hosts(i.publicIPs), i.Subnets...))
	tests := map[netstate.Family]code{}
	for _, f := range families() {
		ranges, networks := wanted.rangesOf(f.Bits()), i.networks.rangesOf(f.Bits())
		if len(ranges) == 0 && len(networks) == 0 {
			continue
		}
		words := f.Bits() / 32
		p := join(
			attrOffset(unix.RTA_DST),
			code{bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1}, acceptAll}, // a default route has none
			code{bpf.TAX{}}, bounds(words), rangeTests(ranges, words),
		)
		if len(networks) > 0 { // those of which expect.MayBeDirect says so; it looks at more
			p = join(p, loadByte(offProtocol), when([]uint32{unix.RTPROT_BOOT}, rangeTests(networks, words)))
		}
		tests[f] = p
	}
	return tests
}

func hosts(addrs []netip.Addr) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		prefixes[i] = host(a)
	}
	return prefixes
}

// bounds stores the first and the last address of a route's destination: in
// scratch 0 and above, and in scratch words and above. X is the offset of RTA_DST.
func bounds(words int) code {
	var p code
	for w := range words {
		p = append(p, bpf.LoadIndirect{Off: attrHeader + 4*uint32(w), Size: 4}, bpf.StoreScratch{Src: bpf.RegA, N: w})
	}
	for w := range words {
		begin, end := 32*uint32(w), 32*uint32(w+1)
		p = append(p,
			bpf.LoadAbsolute{Off: offDstLen, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: begin, SkipFalse: 6},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: end, SkipTrue: 7},
			// The prefix ends in this word. A shift by 32 would be undefined.
			bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: begin + 1}, bpf.TAX{},
			bpf.LoadConstant{Dst: bpf.RegA, Val: 1<<31 - 1}, bpf.ALUOpX{Op: bpf.ALUOpShiftRight}, bpf.Jump{Skip: 3},
			bpf.LoadConstant{Dst: bpf.RegA, Val: 1<<32 - 1}, bpf.Jump{Skip: 1}, // before this word
			bpf.LoadConstant{Dst: bpf.RegA, Val: 0}, // after it
			// A is the word's bits beyond the prefix.
			bpf.TAX{},
			bpf.LoadScratch{Dst: bpf.RegA, N: w},
			bpf.ALUOpX{Op: bpf.ALUOpOr}, bpf.StoreScratch{Src: bpf.RegA, N: words + w},
			bpf.ALUOpX{Op: bpf.ALUOpXor}, bpf.StoreScratch{Src: bpf.RegA, N: w},
		)
	}
	return p
}

// rangeTests accepts a destination that has an address in common with one of
// the ranges, or with what lies between those that it must join to stay short.
func rangeTests(ranges []addrRange, words int) code {
	for n := maxRanges; ; n = n * 3 / 4 {
		var p code
		for _, r := range atMost(n, ranges) {
			p = append(p, rangeTest(r, words)...)
		}
		if len(p) <= rangeBudget {
			return p
		}
	}
}

// rangeTest accepts a destination that has an address in common with r. The
// numbers are compared word by word, up to the last that can make a difference.
func rangeTest(r addrRange, words int) code {
	first, last := trimmed(r.first, 0), trimmed(r.last, 1<<32-1)
	upper := max(0, 3*len(last)-1)
	ret := upper + max(0, 3*len(first)-1)
	next := ret + 1
	p := make(code, 0, next)
	to := func(target int) uint8 { return uint8(target - len(p) - 1) }
	for w, v := range last { // does the destination begin after r?
		p = append(p, bpf.LoadScratch{Dst: bpf.RegA, N: w})
		p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: v, SkipTrue: to(next)})
		if w < len(last)-1 {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: to(upper)})
		}
	}
	for w, v := range first { // does it end before r?
		p = append(p, bpf.LoadScratch{Dst: bpf.RegA, N: words + w})
		if w == len(first)-1 {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: v, SkipFalse: to(next)})
			break
		}
		p = append(p, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: v, SkipTrue: to(ret)})
		p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: to(next)})
	}
	return append(p, acceptAll)
}

// trimmed returns the address as words in the order of the network, without
// those at the end that are all fill.
func trimmed(a netip.Addr, fill uint32) []uint32 {
	var words []uint32
	for b := a.AsSlice(); len(b) > 0; b = b[4:] {
		words = append(words, binary.BigEndian.Uint32(b))
	}
	for len(words) > 0 && words[len(words)-1] == fill {
		words = words[:len(words)-1]
	}
	return words
}
