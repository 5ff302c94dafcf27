package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// TestForeign: no route that a sieve keeps is taken for foreign, and what lies
// far from everything is.
func TestForeign(t *testing.T) {
	tunnel := netstate.Link{Index: 3, Name: "flannel.1", Kind: kindVXLAN, VXLAN: netstate.VXLAN{VNI: 1}}
	skipped := 0
	rapid.Check(t, func(t *rapid.T) {
		in := newInterest(expect.Interest{
			Subnets:  rapid.SliceOf(prefixes()).Draw(t, "subnets"),
			Networks: rapid.SliceOfN(prefixes(), 0, 2).Draw(t, "networks"), VNIs: []uint32{1},
		})
		v := newSieve(in, &netstate.State{}, &netstate.State{Links: []netstate.Link{tunnel}})
		dst := prefixes().Draw(t, "dst")
		if rapid.Bool().Draw(t, "far") {
			dst = rapid.SampledFrom([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/48")}).Draw(t, "far dst")
		}
		device := rapid.SampledFrom([]int{2, 3}).Draw(t, "device")
		b := []byte{addressFamily(netstate.FamilyOf(dst.Addr())), byte(dst.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, 0, unix.RTN_UNICAST, 0, 0, 0, 0}
		b = appendAttr32(b, unix.RTA_TABLE, unix.RT_TABLE_MAIN)
		if dst.Bits() > 0 {
			b = appendAttrAddr(b, unix.RTA_DST, dst.Addr())
		}
		if rapid.Bool().Draw(t, "via") {
			b = appendAttrAddr(b, unix.RTA_GATEWAY, dst.Addr())
		}
		b = appendAttr32(b, unix.RTA_OIF, uint32(device))
		r, ok, err := decodeRoute(b)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		foreign := v.foreign(b)
		if foreign && v.keeps(&r) {
			t.Errorf("%s dev %d is kept, and taken for foreign", dst, device)
		}
		if foreign {
			skipped++
		}
		for n := range b { // and a message that is cut off is not for it to judge
			v.foreign(b[:n])
		}
	})
	if skipped < 10 {
		t.Errorf("only %d routes were foreign: nothing was tested", skipped)
	}
}

// FuzzForeign: whatever the bytes are, a route that decodes and is kept is not foreign.
func FuzzForeign(f *testing.F) {
	in := newInterest(expect.Interest{Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00::/48")}})
	v := newSieve(in, &netstate.State{}, &netstate.State{Links: []netstate.Link{{Index: 3, Kind: kindVXLAN}}})
	v.flannel = []int{3}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok, err := decodeRoute(b)
		if v.foreign(b) && ok && err == nil && v.keeps(&r) {
			t.Errorf("%+v is kept, and taken for foreign", r)
		}
	})
}
