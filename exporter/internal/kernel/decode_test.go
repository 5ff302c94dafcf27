package kernel

import (
	"encoding"
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/jsimonetti/rtnetlink/v2/driver"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

var compareNetip = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// addr reads what rtnetlink decoded.
func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a
}

// dumped calls each with the body of every entry of a kernel's table.
func dumped(t *testing.T, n *node, typ netlink.HeaderType, m encoding.BinaryMarshaler, attrs []byte, each func(body []byte)) {
	t.Helper()
	r := n.requests(t)
	count := 0
	netns.Must(t, r.dump(typ, m, attrs, func(body []byte) error {
		count++
		each(body)
		return nil
	}))
	if count == 0 {
		t.Errorf("type %d: nothing to compare", typ)
	}
}

// TestDecodeAsRTNetlink compares the decoders with rtnetlink's, on what a real kernel says.
func TestDecodeAsRTNetlink(t *testing.T) {
	n := newNode(t, 3)
	n.foreign(t)
	p := n.peers[0]
	netns.Must(t, n.RouteAdd(netstate.Route{Dst: netip.MustParsePrefix("198.51.100.0/24"), Type: netstate.Blackhole, Table: 1000, Priority: 7}))
	netns.Must(t, n.RuleAdd(netstate.Rule{Family: netstate.IPv4, Priority: 50, Table: 1000, Dst: p.subnet, Src: flannel4, IIF: "cni0", Mark: 5}))

	for _, f := range families() {
		af := addressFamily(f)
		dumped(t, n, unix.RTM_GETROUTE, &rtnetlink.RouteMessage{Family: af}, nil, func(b []byte) {
			compare(t, b, decodeRoute, func(m *rtnetlink.RouteMessage, got *netstate.Route) netstate.Route { return wantRoute(m, got) })
		})
		dumped(t, n, unix.RTM_GETADDR, &rtnetlink.AddressMessage{Family: af}, nil, func(b []byte) {
			compare(t, b, decodeAddr, func(m *rtnetlink.AddressMessage, _ *netstate.Addr) netstate.Addr {
				a := m.Attributes.Local
				if a == nil {
					a = m.Attributes.Address
				}
				return netstate.Addr{Device: int(m.Index), Prefix: netip.PrefixFrom(addr(a), int(m.PrefixLength))}
			})
		})
		dumped(t, n, unix.RTM_GETRULE, &rtnetlink.RuleMessage{Family: af}, nil, func(b []byte) {
			compare(t, b, decodeRule, func(m *rtnetlink.RuleMessage, _ *netstate.Rule) netstate.Rule { return wantRule(m) })
		})
		dumped(t, n, unix.RTM_GETNEIGH, &rtnetlink.NeighMessage{Family: uint16(af)}, nil, func(b []byte) {
			compare(t, b, decodeNeighbor, func(m *rtnetlink.NeighMessage, _ *netstate.Neighbor) netstate.Neighbor {
				return netstate.Neighbor{Device: int(m.Index), IP: addr(m.Attributes.Address), State: m.State, MAC: attrMAC(m.Attributes.LLAddress)}
			})
		})
	}
	dumped(t, n, unix.RTM_GETNEIGH, &rtnetlink.NeighMessage{Family: unix.AF_BRIDGE}, nil, func(b []byte) {
		compare(t, b, decodeFDB, func(m *rtnetlink.NeighMessage, _ *netstate.FDBEntry) netstate.FDBEntry {
			return netstate.FDBEntry{Device: int(m.Index), MAC: attrMAC(m.Attributes.LLAddress), Dst: addr(m.Attributes.Address), State: m.State}
		})
	})
	dumped(t, n, unix.RTM_GETLINK, &rtnetlink.LinkMessage{}, nil, func(b []byte) {
		compare(t, b, decodeLink, func(m *rtnetlink.LinkMessage, got *netstate.Link) netstate.Link { return wantLink(m, got) })
	})
}

// compare decodes b twice; want translates what rtnetlink found, and may take
// from got what rtnetlink does not know.
func compare[T any, M any, P interface {
	*M
	encoding.BinaryUnmarshaler
}](t *testing.T, b []byte, decode func([]byte) (T, bool, error), want func(m *M, got *T) T) {
	t.Helper()
	got, ok, err := decode(b)
	if err != nil {
		t.Errorf("%x: %v", b, err)
	}
	if !ok {
		return
	}
	var m M
	if err := P(&m).UnmarshalBinary(b); err != nil {
		t.Errorf("rtnetlink: %x: %v", b, err)
		return
	}
	if diff := cmp.Diff(want(&m, &got), got, compareNetip); diff != "" {
		t.Errorf("%x: (-rtnetlink +got)\n%s", b, diff)
	}
}

func wantRoute(m *rtnetlink.RouteMessage, got *netstate.Route) netstate.Route {
	a := m.Attributes
	zero := netip.IPv4Unspecified()
	if m.Family == unix.AF_INET6 {
		zero = netip.IPv6Unspecified()
	}
	if a.Dst != nil {
		zero = addr(a.Dst)
	}
	r := netstate.Route{
		Table: a.Table, Dst: netip.PrefixFrom(zero, int(m.DstLength)), Type: netstate.RouteType(m.Type), Priority: a.Priority,
		TOS: m.Tos, Protocol: m.Protocol, Scope: m.Scope, Device: int(a.OutIface), Gateway: addr(a.Gateway), PrefSrc: addr(a.Src),
		OnLink: m.Flags&unix.RTNH_F_ONLINK != 0, Dead: m.Flags&unix.RTNH_F_DEAD != 0, LinkDown: m.Flags&unix.RTNH_F_LINKDOWN != 0,
		NextHopID: got.NextHopID,
	}
	if len(a.Multipath) > 0 {
		first := a.Multipath[0]
		r.Device, r.Gateway, r.Multipath = int(first.Hop.IfIndex), addr(first.Gateway), len(a.Multipath) > 1
		r.OnLink, r.Dead, r.LinkDown = first.Hop.Flags&unix.RTNH_F_ONLINK != 0, true, true
		for _, h := range a.Multipath {
			r.Dead = r.Dead && h.Hop.Flags&unix.RTNH_F_DEAD != 0
			r.LinkDown = r.LinkDown && h.Hop.Flags&unix.RTNH_F_LINKDOWN != 0
		}
	}
	return r
}

func wantRule(m *rtnetlink.RuleMessage) netstate.Rule {
	a := m.Attributes
	r := netstate.Rule{Family: netstate.IPv4, Action: m.Action, Table: *a.Table}
	if m.Family == unix.AF_INET6 {
		r.Family = netstate.IPv6
	}
	if a.Priority != nil {
		r.Priority = *a.Priority
	}
	if a.Dst != nil {
		r.Dst = netip.PrefixFrom(addr(*a.Dst), int(m.DstLength))
	}
	if a.Src != nil {
		r.Src = netip.PrefixFrom(addr(*a.Src), int(m.SrcLength))
	}
	if a.IIFName != nil {
		r.IIF = *a.IIFName
	}
	if a.FwMark != nil {
		r.Mark = *a.FwMark
	}
	return r
}

func wantLink(m *rtnetlink.LinkMessage, got *netstate.Link) netstate.Link {
	a := m.Attributes
	l := netstate.Link{
		Index: int(m.Index), Name: a.Name, MTU: int(a.MTU), MAC: attrMAC(a.Address),
		Up: m.Flags&unix.IFF_UP != 0, LowerUp: m.Flags&unix.IFF_LOWER_UP != 0, Running: m.Flags&unix.IFF_RUNNING != 0,
		Lower: got.Lower,
	}
	if a.Master != nil {
		l.Master = int(*a.Master)
	}
	if a.Info != nil {
		l.Kind = a.Info.Kind
	}
	if l.Kind == kindVXLAN {
		l.VXLAN = got.VXLAN // TestFirstPicture compares these with what the device was made with
	}
	return l
}

// TestDecodeLiterals has what TestDecodeAsRTNetlink cannot: what rtnetlink does not know.
func TestDecodeLiterals(t *testing.T) {
	rt := func(family, bits byte, attrs ...[]byte) []byte {
		b := make([]byte, unix.SizeofRtMsg)
		b[0], b[1], b[4], b[7] = family, bits, unix.RT_TABLE_MAIN, byte(netstate.Unicast)
		for _, a := range attrs {
			b = append(b, a...)
		}
		return b
	}
	dst := appendAttrAddr(nil, unix.RTA_DST, netip.MustParseAddr("10.244.3.0"))
	subnet := netip.MustParsePrefix("10.244.3.0/24")
	v6 := netip.MustParseAddr("fe80::1")
	clone := rt(unix.AF_INET, 24, dst)
	native.PutUint32(clone[8:], unix.RTM_F_CLONED)
	tests := []struct {
		name string
		b    []byte
		want netstate.Route
		ok   bool
		err  bool
	}{
		{name: "RTA_VIA", b: rt(unix.AF_INET, 24, dst, appendAttr(nil, unix.RTA_VIA, append(native.AppendUint16(nil, unix.AF_INET6), v6.AsSlice()...))),
			want: netstate.Route{Table: 254, Dst: subnet, Type: netstate.Unicast, Gateway: v6}, ok: true},
		{name: "RTA_NH_ID", b: rt(unix.AF_INET, 24, dst, appendAttr32(nil, rtaNHID, 9)),
			want: netstate.Route{Table: 254, Dst: subnet, Type: netstate.Unicast, NextHopID: 9}, ok: true},
		{name: "unknown attribute", b: rt(unix.AF_INET, 24, appendAttr(nil, 999, []byte{1, 2, 3}), dst),
			want: netstate.Route{Table: 254, Dst: subnet, Type: netstate.Unicast}, ok: true},
		{name: "table above 255", b: rt(unix.AF_INET, 24, dst, appendAttr32(nil, unix.RTA_TABLE, 70000)),
			want: netstate.Route{Table: 70000, Dst: subnet, Type: netstate.Unicast}, ok: true},
		{name: "default route", b: rt(unix.AF_INET6, 0), want: netstate.Route{Table: 254, Dst: netip.MustParsePrefix("::/0"), Type: netstate.Unicast}, ok: true},
		{name: "clone", b: clone},
		{name: "MPLS", b: rt(unix.AF_MPLS, 20)},
		{name: "empty", b: nil, err: true},
		{name: "prefix too long", b: rt(unix.AF_INET, 33, dst), err: true},
		{name: "address of the other family", b: rt(unix.AF_INET6, 24, dst), err: true},
		{name: "attribute longer than the message", b: rt(unix.AF_INET, 24, dst[:6]), err: true},
		{name: "short device", b: rt(unix.AF_INET, 24, dst, appendAttr(nil, unix.RTA_OIF, []byte{1})), err: true},
		{name: "short hop", b: rt(unix.AF_INET, 24, dst, appendAttr(nil, unix.RTA_MULTIPATH, []byte{16, 0, 0, 0, 1, 0, 0, 0})), err: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok, err := decodeRoute(test.b)
			if ok != test.ok || (err != nil) != test.err {
				t.Fatalf("ok %v, error %v", ok, err)
			}
			if diff := cmp.Diff(test.want, got, compareNetip); ok && diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	// A port that left its bridge is announced as RTM_DELLINK.
	b := make([]byte, unix.SizeofIfInfomsg)
	b[0] = unix.AF_BRIDGE
	if _, ok, err := decodeLink(b); ok || err != nil {
		t.Errorf("a bridge's message about its port: ok %v, error %v", ok, err)
	}
}

// TestDecodeAllocates: the path that a storm of route events takes allocates nothing.
func TestDecodeAllocates(t *testing.T) {
	n := newNode(t, 1)
	w := n.stepped(t, n.config())
	m := &rtnetlink.RouteMessage{Family: unix.AF_INET, DstLength: 24, Type: unix.RTN_UNICAST, Attributes: rtnetlink.RouteAttributes{
		Dst: net.IP{172, 16, 1, 0}, Gateway: net.IP{192, 0, 2, 2}, OutIface: 2, Table: 254,
	}}
	b, err := m.MarshalBinary()
	netns.Must(t, err)
	w.events.mu.Lock()
	defer w.events.mu.Unlock()
	h := header{Type: unix.RTM_NEWROUTE}
	if n := testing.AllocsPerRun(1000, func() {
		if err := w.events.message(h, b, w.sent.At); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for an event", n)
	}
	if !w.events.work.empty() {
		t.Error("a foreign route is relevant")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []encoding.BinaryMarshaler{
		&rtnetlink.RouteMessage{Family: unix.AF_INET, DstLength: 24, Attributes: rtnetlink.RouteAttributes{
			Dst: net.IP{10, 244, 3, 0}, Gateway: net.IP{10, 244, 3, 0}, OutIface: 3, Table: 254,
			Multipath: []rtnetlink.NextHop{{Hop: rtnetlink.RTNextHop{IfIndex: 1}, Gateway: net.IP{1, 2, 3, 4}}, {Hop: rtnetlink.RTNextHop{IfIndex: 2}}},
		}},
		&rtnetlink.LinkMessage{Index: 3, Attributes: &rtnetlink.LinkAttributes{Name: "flannel.1", Info: &rtnetlink.LinkInfo{
			Kind: "vxlan", Data: &driver.Vxlan{ID: new(uint32(1))},
		}}},
		&rtnetlink.AddressMessage{Family: unix.AF_INET, PrefixLength: 32, Attributes: &rtnetlink.AddressAttributes{Local: net.IP{10, 244, 0, 0}, Address: net.IP{10, 244, 0, 0}}},
	} {
		b, err := m.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok, err := decodeRoute(b)
		if ok && (err != nil || !r.Dst.IsValid() || r.Dst != r.Dst.Masked()) {
			t.Errorf("route %+v, error %v", r, err)
		}
		var m rtnetlink.RouteMessage
		if ok && m.UnmarshalBinary(b) == nil && len(m.Attributes.Multipath) == 0 && r.Device != int(int32(m.Attributes.OutIface)) {
			t.Errorf("device %d, rtnetlink %d", r.Device, m.Attributes.OutIface)
		}
		if a, ok, err := decodeAddr(b); ok && (err != nil || !a.Prefix.IsValid()) {
			t.Errorf("address %+v, error %v", a, err)
		}
		if n, ok, err := decodeNeighbor(b); ok && (err != nil || !n.IP.IsValid()) {
			t.Errorf("neighbor %+v, error %v", n, err)
		}
		_, _, _ = decodeLink(b)
		_, _, _ = decodeFDB(b)
		_, _, _ = decodeRule(b)
		_, _ = decodeNextHop(b)
		_, _, _ = decodeNetConf(b)
		for rest := b; len(rest) > 0; {
			_, _, next, err := nextMessage(rest)
			if err != nil {
				break
			}
			if len(next) >= len(rest) {
				t.Fatal("no progress")
			}
			rest = next
		}
	})
}
