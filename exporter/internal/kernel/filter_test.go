package kernel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// sieveSocket runs a filter in the kernel, on datagrams of the test's own.
type sieveSocket struct{ in, out int }

func newSieveSocket(tb testing.TB) sieveSocket {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Close(fds[0]); _ = unix.Close(fds[1]) })
	return sieveSocket{fds[0], fds[1]}
}

type fataler interface{ Fatalf(string, ...any) }

func (s sieveSocket) attach(t fataler, c code) int {
	raw, err := bpf.Assemble(c)
	if err != nil {
		t.Fatalf("assemble: %v", err)
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
	if err := unix.SetsockoptSockFprog(s.out, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		t.Fatalf("attach %d instructions: %v", len(raw), err)
	}
	return len(raw)
}

// passes sends a message and reports whether the filter let it through, in full.
func (s sieveSocket) passes(t fataler, b []byte) bool {
	if err := unix.Send(s.in, b, 0); err != nil {
		t.Fatalf("send: %v", err)
	}
	n, err := unix.Read(s.out, make([]byte, len(b)+1))
	if errors.Is(err, unix.EAGAIN) {
		return false
	}
	if err != nil || n != len(b) {
		t.Fatalf("received %d of %d bytes: %v", n, len(b), err)
	}
	return true
}

func encodeEvent(typ uint16, body []byte) []byte {
	b := native.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = native.AppendUint16(b, typ)
	b = append(b, make([]byte, 10)...)
	return append(b, body...)
}

// The devices of the pictures that the properties are about.
var filterLinks = []netstate.Link{
	{Index: 1, Name: "lo"},
	{Index: 2, Name: "eth0"},
	{Index: 3, Name: "flannel.1", Kind: kindVXLAN, VXLAN: netstate.VXLAN{VNI: 1}},
	{Index: 0x01020304, Name: "flannel-v6.1", Kind: kindVXLAN, VXLAN: netstate.VXLAN{VNI: 1}},
	{Index: 0x04030201, Name: "vxlan.calico", Kind: kindVXLAN, VXLAN: netstate.VXLAN{VNI: 4096}},
	{Index: 0x04030202, Name: "flannel0"},
}

var filterTables = []uint32{netstate.TableMain, netstate.TableLocal, 100, 1000, 1 << 24}

// randomPrefix is in a small part of the address space, so that prefixes meet.
func randomPrefix(r *rand.Rand, f netstate.Family, min int) netip.Prefix {
	a := netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	if f == netstate.IPv6 {
		b := [16]byte{0: 0xfd, 5: byte(r.Uint32()), 7: byte(r.Uint32()), 8: byte(r.Uint32() % 4), 13: byte(r.Uint32()), 15: byte(r.Uint32())}
		a = netip.AddrFrom16(b)
	}
	return netip.PrefixFrom(a, min+r.IntN(f.Bits()-min+1)).Masked()
}

// randomInterest has about so many prefixes in each family.
func randomInterest(r *rand.Rand, prefixes int) expect.Interest {
	in := expect.Interest{VNIs: []uint32{1}}
	for _, f := range families() {
		for i := range prefixes {
			switch p := randomPrefix(r, f, f.Bits()/4); {
			case r.IntN(3) == 0:
				in.PublicIPs = append(in.PublicIPs, p.Addr())
			case i > 0:
				in.Peers = append(in.Peers, p)
				fallthrough
			default:
				in.Subnets = append(in.Subnets, p)
			}
		}
		if r.IntN(3) == 0 {
			in.Networks = append(in.Networks, randomPrefix(r, f, f.Bits()/4))
		}
	}
	if r.IntN(2) == 0 {
		in.Tunnels = []string{"flannel0"}
	}
	if r.IntN(4) == 0 {
		in.VNIs = nil
	}
	return in
}

func randomScope(r *rand.Rand, prefixes int) *scope {
	var tables map[tableKey]bool
	if r.IntN(3) > 0 {
		tables = map[tableKey]bool{}
		for _, f := range families() {
			for _, t := range filterTables {
				if r.IntN(2) == 0 {
					tables[tableKey{f, t}] = true
				}
			}
		}
	}
	return newScope(newInterest(randomInterest(r, prefixes)), &netstate.State{Links: filterLinks}, tables)
}

// near returns a prefix that equals, covers, lies inside or is next to one of
// the interest, or has nothing to do with it.
func beside(r *rand.Rand, in *interest) netip.Prefix {
	known := slices.Concat(in.Subnets, hosts(in.publicIPs), in.Networks)
	if len(known) == 0 || r.IntN(8) == 0 {
		return randomPrefix(r, families()[r.IntN(2)], 0)
	}
	p := known[r.IntN(len(known))]
	a, bits := p.Addr(), p.Addr().BitLen()
	switch r.IntN(6) {
	case 0:
		return p
	case 1: // over it
		return netip.PrefixFrom(a, r.IntN(p.Bits()+1)).Masked()
	case 2: // in it, at its end
		return netip.PrefixFrom(lastAddr(p), p.Bits()+r.IntN(bits-p.Bits()+1)).Masked()
	case 3: // after it
		a = lastAddr(p).Next()
	case 4: // before it
		a = a.Prev()
	default:
		return host(a)
	}
	if !a.IsValid() {
		return p
	}
	return netip.PrefixFrom(a, max(0, min(bits, p.Bits()-1+r.IntN(3)))).Masked()
}

func randomDevice(r *rand.Rand) uint32 {
	if r.IntN(5) == 0 {
		return r.Uint32N(1 << 30)
	}
	return uint32(filterLinks[r.IntN(len(filterLinks))].Index)
}

// randomRoute is a route event's body as the kernel makes it.
func randomRoute(r *rand.Rand, in *interest) []byte {
	p := beside(r, in)
	if r.IntN(12) == 0 {
		p = netip.MustParsePrefix([]string{"224.0.0.0/4", "ff00::/8", "fe80::/64", "0.0.0.0/0", "::/0", "169.254.1.0/24"}[r.IntN(6)])
	}
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = addressFamily(netstate.FamilyOf(p.Addr())), uint8(p.Bits())
	b[5] = []byte{unix.RTPROT_BOOT, unix.RTPROT_KERNEL, unix.RTPROT_STATIC}[r.IntN(3)]
	b[7] = []byte{unix.RTN_UNICAST, unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_BLACKHOLE}[r.IntN(4)]
	if r.IntN(20) == 0 {
		native.PutUint32(b[8:], unix.RTM_F_CLONED)
	}
	table := filterTables[r.IntN(len(filterTables))]
	b[4] = unix.RT_TABLE_COMPAT
	if table < 256 {
		b[4] = byte(table)
	}
	b = appendAttr32(b, unix.RTA_TABLE, table)
	if p.Bits() > 0 {
		b = appendAttrAddr(b, unix.RTA_DST, p.Addr())
	}
	b = appendAttr32(b, unix.RTA_PRIORITY, r.Uint32())
	gateway := r.IntN(2) == 0
	switch r.IntN(4) {
	case 0:
		var hops []byte
		for range 1 + r.IntN(3) {
			hop := native.AppendUint32([]byte{16, 0, 0, 0}, randomDevice(r))
			native.PutUint16(hop, 16)
			hops = append(hops, appendAttrAddr(hop, unix.RTA_GATEWAY, netip.MustParseAddr("192.0.2.9"))...)
		}
		return appendAttr(b, unix.RTA_MULTIPATH, hops)
	case 1:
		return b // a blackhole has no device
	}
	if gateway {
		b = appendAttrAddr(b, unix.RTA_GATEWAY, p.Addr().Next())
	}
	return appendAttr32(b, unix.RTA_OIF, randomDevice(r))
}

func randomNeighbor(r *rand.Rand) []byte {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = []byte{unix.AF_INET, unix.AF_INET6, unix.AF_BRIDGE, unix.AF_MPLS}[r.IntN(4)]
	native.PutUint32(b[4:], randomDevice(r))
	b[10] = byte(r.IntN(4))
	return appendAttrAddr(b, unix.NDA_DST, []netip.Addr{netip.MustParseAddr("10.1.0.0"), netip.MustParseAddr("ff02::1")}[r.IntN(2)])
}

// randomEvent is any event: routes and neighbors, which are filtered, and others.
func randomEvent(r *rand.Rand, in *interest) (typ uint16, body []byte) {
	switch r.IntN(8) {
	case 0, 1:
		return unix.RTM_NEWNEIGH + uint16(r.IntN(2)), randomNeighbor(r)
	case 2:
		others := []uint16{unix.RTM_NEWLINK, unix.RTM_NEWADDR, unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_NEWNETCONF}
		return others[r.IntN(len(others))], make([]byte, r.IntN(64))
	}
	return unix.RTM_NEWROUTE + uint16(r.IntN(2)), randomRoute(r, in)
}

// matters is what decides without a filter.
func matters(s *scope, typ uint16, body []byte) bool {
	e := &events{scope: s}
	err := e.message(header{Type: typ}, body, time.Time{})
	return err != nil || !e.work.empty() || e.seen.links != nil || e.seen.addrs != nil
}

// coarse says why the filter may accept an event that does not matter; "" if
// there is no reason.
func coarse(s *scope, typ uint16, body []byte) string {
	in := s.in
	switch typ {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if slices.Contains(s.vxlan, int(native.Uint32(body[4:]))) {
			return "multicast, or a bridge's, of flannel's device"
		}
		return ""
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
	default:
		return "neither route nor neighbor"
	}
	native.PutUint32(body[8:], native.Uint32(body[8:])&^unix.RTM_F_CLONED)
	route, _, err := decodeRoute(body)
	f := netstate.FamilyOf(route.Dst.Addr())
	l, _ := s.base.Link(route.Device)
	switch {
	case err != nil || s.tables != nil && !s.tables[tableKey{f, route.Table}]:
		return ""
	case matters(s, typ, body):
		return "cloned"
	case in.podRoute(&route, in.flannel(l)):
		return "to a pod of the node"
	case route.Protocol == unix.RTPROT_BOOT && in.networks.overlaps(route.Dst):
		return "in the pod network, not of flannel's form"
	case in.flannel(l) && route.Type == netstate.Unicast && (route.Dst.Addr().IsMulticast() || route.Dst.Addr().IsLinkLocalUnicast()):
		return "the kernel's own through flannel's device"
	case route.Dst.Bits() == 0 && len(in.networks.rangesOf(f.Bits())) > 0:
		return "a default route where only the pod network is known"
	}
	return ""
}

// TestFilter: in the kernel itself the filter lets through all that matters, and
// without ranges that had to be joined nothing else but what can be named.
func TestFilter(t *testing.T) {
	const budget = 700 // instructions
	sock := newSieveSocket(t)
	longest, wanted, refused, reasons := 0, 0, 0, map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		prefixes := rapid.OneOf(rapid.IntRange(0, 8), rapid.SampledFrom([]int{60, 3000})).Draw(t, "prefixes")
		s := randomScope(r, prefixes)
		longest = max(longest, sock.attach(t, s.filter()))
		for range 100 {
			typ, body := randomEvent(r, s.in)
			matter, passed := matters(s, typ, body), sock.passes(t, encodeEvent(typ, body))
			switch {
			case matter && !passed:
				t.Fatalf("refused, but it matters: type %d\n% x\n%+v", typ, body, s.in.Interest)
			case matter:
				wanted++
			case !passed:
				refused++
			case prefixes <= 8:
				reason := coarse(s, typ, body)
				if reason == "" {
					t.Fatalf("accepted without a reason: type %d\n% x\n%+v", typ, body, s.in.Interest)
				}
				reasons[reason]++
			}
		}
	})
	if longest > budget {
		t.Errorf("%d instructions, want at most %d", longest, budget)
	}
	if wanted == 0 || refused == 0 {
		t.Errorf("%d events mattered, %d were refused: this tests nothing", wanted, refused)
	}
	t.Logf("up to %d instructions; %d events mattered, %d were refused; accepted besides: %v", longest, wanted, refused, reasons)
}

// TestFilter_Values: tables and devices are told apart only up to a number.
func TestFilter_Values(t *testing.T) {
	sock := newSieveSocket(t)
	in := newInterest(expect.Interest{Subnets: []netip.Prefix{podNetwork}})
	for _, n := range []int{1, maxAlternatives, maxAlternatives + 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			tables := map[tableKey]bool{}
			for i := range n {
				tables[tableKey{netstate.IPv4, uint32(1000 + i)}] = true
			}
			sock.attach(t, newScope(in, &netstate.State{}, tables).filter())
			for _, table := range []uint32{1000, uint32(1000 + n - 1), 999, uint32(1000 + n)} {
				b := append([]byte{unix.AF_INET, 16}, make([]byte, 10)...)
				b = appendAttrAddr(appendAttr32(b, unix.RTA_TABLE, table), unix.RTA_DST, podNetwork.Addr())
				want := tables[tableKey{netstate.IPv4, table}] || n > maxAlternatives
				if got := sock.passes(t, encodeEvent(unix.RTM_NEWROUTE, b)); got != want {
					t.Errorf("table %d passes: %v, want %v", table, got, want)
				}
			}
		})
	}
}

// TestAtMost: the ranges hold every member, and no others less beside them.
func TestAtMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var some []netip.Prefix
		for range 2 + r.IntN(8) {
			f := families()[r.IntN(2)]
			some = append(some, randomPrefix(r, f, f.Bits()*3/4))
		}
		members, n := newPrefixSet(some), 1+r.IntN(4)
		for _, f := range families() {
			ranges := members.rangesOf(f.Bits())
			joined := atMost(n, ranges)
			if len(joined) > n {
				t.Fatalf("%d ranges, want %d", len(joined), n)
			}
			for _, p := range members {
				in := func(r addrRange) bool { return r.first.Compare(p.Addr()) <= 0 && r.last.Compare(lastAddr(p)) >= 0 }
				if netstate.FamilyOf(p.Addr()) == f && !slices.ContainsFunc(joined, in) {
					t.Errorf("%s is in none of %v", p, joined)
				}
			}
			if f == netstate.IPv4 {
				if got, want := extent(joined), leastExtent(n, ranges); got != want {
					t.Errorf("%v hold %d addresses, want %d", joined, got, want)
				}
			}
		}
	})
}

// extent is how many addresses of IPv4 the ranges hold.
func extent(ranges []addrRange) (sum uint64) {
	for _, r := range ranges {
		_, low := distance(r.first, r.last)
		sum += low + 1
	}
	return sum
}

// leastExtent tries every way to join neighbors.
func leastExtent(n int, ranges []addrRange) uint64 {
	if len(ranges) <= n {
		return extent(ranges)
	}
	least := ^uint64(0)
	for i := range len(ranges) - 1 {
		joined := slices.Delete(slices.Clone(ranges), i+1, i+2)
		joined[i].last = ranges[i+1].last
		least = min(least, leastExtent(n, joined))
	}
	return least
}
