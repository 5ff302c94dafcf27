package kernel

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/netns"
	"routewatch/exporter/internal/enter"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// TestNextHops: a route by a next-hop object or a group looks the same whether
// the kernel says where it leads (nexthop_compat_mode) or only the object's number.
func TestNextHops(t *testing.T) {
	n := newNode(t, 3)
	for i, f := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
		device := n.MustIndex(t, map[netstate.Family]string{netstate.IPv4: "flannel.1", netstate.IPv6: "flannel-v6.1"}[f])
		for j, p := range slices.DeleteFunc(slices.Clone(n.peers), func(p peer) bool { return p.family() != f }) {
			id := uint32(10*i + 2*j + 1)
			netns.Must(t, n.NextHopReplace(netns.NextHop{ID: id, Family: f, Device: device, Gateway: p.subnet.Addr(), OnLink: true}))
			r := netstate.Route{Dst: p.subnet, NextHopID: id}
			if f == netstate.IPv6 {
				r.Priority = 1024
			}
			if j == 1 { // and a second member
				gateway := p.subnet.Addr().Next()
				netns.Must(t, n.NextHopReplace(netns.NextHop{ID: id + 100, Family: f, Device: device, Gateway: gateway, OnLink: true}))
				netns.Must(t, n.NextHopReplace(netns.NextHop{ID: id + 200, Group: []uint32{id, id + 100}}))
				r.NextHopID = id + 200
			}
			netns.Must(t, n.RouteReplace(r))
		}
	}
	read := func() *netstate.State {
		s, err := ReadOnce(context.Background(), Config{NetNS: n.Path()}, n.interest())
		netns.Must(t, err)
		// The kernel adds routes of its own for some time after an IPv6 address.
		s.Routes = slices.DeleteFunc(s.Routes, func(r *netstate.Route) bool { return r.NextHopID == 0 })
		return s
	}
	want := read()
	netns.Must(t, n.Sysctl("net.ipv4.nexthop_compat_mode", "0"))
	got := read()
	equal := cmp.Options{cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(want.Routes, got.Routes, equal); diff != "" {
		t.Errorf("routes (-compat +without):\n%s", diff)
	}
	if diff := cmp.Diff(want.Lookups, got.Lookups, equal); diff != "" {
		t.Errorf("lookups (-compat +without):\n%s", diff)
	}
	count := 0
	for _, r := range got.Routes {
		if r.NextHopID != 0 && r.Device != 0 {
			count++
		}
	}
	if count != len(n.peers) {
		t.Errorf("%d routes by a next-hop object, want %d", count, len(n.peers))
	}
}

// Short and odd messages are errors or nothing, and never a panic.
func TestDecodeNextHop(t *testing.T) {
	b := make([]byte, 8)
	b = appendAttr32(b, 1, 7)
	b = appendAttr(b, 2, []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})
	n, err := decodeNextHop(b)
	if err != nil || n.id != 7 || !slices.Equal(n.members, []uint32{1, 2}) {
		t.Errorf("got %+v, %v", n, err)
	}
	for i := range b {
		_, _ = decodeNextHop(b[:i])
	}
	if _, err := decodeNextHop(b[:10]); err == nil {
		t.Error("half an attribute was accepted")
	}
}

// What comes in from pods comes in on cni0. flannel's device has an address of
// the same subnet.
func TestPodSource_IsNotFlannelsDevice(t *testing.T) {
	subnet := netip.MustParsePrefix("10.244.1.0/24")
	in := newInterest(expect.Interest{Subnets: []netip.Prefix{subnet}, Devices: []string{"cni0", "flannel.1"}})
	s := &netstate.State{
		Links: []netstate.Link{{Index: 3, Name: "flannel.1", Kind: "vxlan", Up: true}, {Index: 4, Name: "cni0", Kind: "bridge", Up: true}},
		Addrs: []netstate.Addr{{Device: 3, Prefix: netip.MustParsePrefix("10.244.1.0/32")}, {Device: 4, Prefix: netip.MustParsePrefix("10.244.1.1/24")}},
	}
	if _, device, ok := in.podSource(s, netstate.IPv4); !ok || device != 4 {
		t.Errorf("pods come in on device %d (%t), want 4", device, ok)
	}
}

// The legs of a multipath route matter, whichever device they leave by: IPv4
// drops the whole route with any of them, without an event of its own.
func TestMultipath_EachLegMatters(t *testing.T) {
	n := newNode(t, 1)
	netns.Must(t, n.AddVeth("leg0", n.other, "leg0"))
	netns.Must(t, n.other.SetUp("leg0"))
	netns.Must(t, n.AddAddr("leg0", netip.MustParsePrefix("198.51.100.1/24")))
	netns.Must(t, n.SetUp("leg0"))
	p := n.peers[0]
	netns.Must(t, n.RouteReplace(netstate.Route{Dst: p.subnet},
		netns.Hop{Device: n.MustIndex(t, "flannel.1"), Gateway: p.subnet.Addr(), OnLink: true},
		netns.Hop{Device: n.MustIndex(t, "leg0"), Gateway: netip.MustParseAddr("198.51.100.2")}))
	r := &reader{in: newInterest(n.interest())}
	ns, err := enter.Open(n.Path())
	netns.Must(t, err)
	defer ns.Close()
	r.req, err = dialRequests(ns)
	netns.Must(t, err)
	defer r.req.close()
	s, err := r.sweep(nil, &work{})
	netns.Must(t, err)
	if !r.scope(s).devices[n.MustIndex(t, "leg0")] {
		t.Error("the second leg's device does not matter")
	}
}
