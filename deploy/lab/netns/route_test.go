//go:build linux

package netns_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

// node has ens33 with a default route and flannel.1, both up.
func node(t *testing.T) (ns *netns.NS, ens33, flannel int) {
	t.Helper()
	ns = netns.NewT(t)
	netns.Must(t, ns.AddVeth("ens33", ns, "cable"))
	netns.Must(t, ns.SetUp("cable"))
	netns.Must(t, ns.AddAddr("ens33", netip.MustParsePrefix("192.168.1.57/24")))
	netns.Must(t, ns.SetUp("ens33"))
	netns.Must(t, ns.AddVXLAN(netns.VXLAN{Name: "flannel.1", VNI: 1, Port: 8472, Lower: "ens33", Local: netip.MustParseAddr("192.168.1.57")}))
	netns.Must(t, ns.AddAddr("flannel.1", netip.MustParsePrefix("10.244.1.0/32")))
	netns.Must(t, ns.AddAddr("flannel.1", netip.MustParsePrefix("fd00:10:244:1::/128")))
	netns.Must(t, ns.SetUp("flannel.1"))
	return ns, ns.MustIndex(t, "ens33"), ns.MustIndex(t, "flannel.1")
}

func TestRoutes(t *testing.T) {
	ns, ens33, flannel := node(t)
	s4, s6 := netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("fd00:10:244:3::/64")
	gw, gw2 := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")
	netns.Must(t, ns.NextHopReplace(netns.NextHop{ID: 7, Family: netstate.IPv4, Device: ens33, Gateway: gw}))
	tests := []struct {
		name string
		add  netstate.Route
		hops []netns.Hop
		want netstate.Route
	}{
		{name: "flannel's",
			add:  netstate.Route{Dst: s4, Gateway: s4.Addr(), Device: flannel, OnLink: true},
			want: netstate.Route{Dst: s4, Gateway: s4.Addr(), Device: flannel, OnLink: true, Table: 254, Type: netstate.Unicast, Protocol: 3}},
		{name: "flannel's IPv6",
			add:  netstate.Route{Dst: s6, Gateway: s6.Addr(), Device: flannel, OnLink: true},
			want: netstate.Route{Dst: s6, Gateway: s6.Addr(), Device: flannel, OnLink: true, Table: 254, Type: netstate.Unicast, Protocol: 3, Priority: 1024}},
		{name: "default",
			add:  netstate.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gw},
			want: netstate.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gw, Device: ens33, Table: 254, Type: netstate.Unicast, Protocol: 3}},
		{name: "blackhole in a table",
			add:  netstate.Route{Dst: s4, Type: netstate.Blackhole, Table: 1000, Priority: 5},
			want: netstate.Route{Dst: s4, Type: netstate.Blackhole, Table: 1000, Priority: 5, Protocol: 3}},
		{name: "next-hop object",
			add:  netstate.Route{Dst: s4, NextHopID: 7, Priority: 9},
			want: netstate.Route{Dst: s4, Gateway: gw, Device: ens33, Priority: 9, Table: 254, Type: netstate.Unicast, Protocol: 3}},
		{name: "multipath",
			add:  netstate.Route{Dst: s4, Priority: 10},
			hops: []netns.Hop{{Gateway: gw, Device: ens33}, {Gateway: gw2, Device: ens33, Weight: 2}},
			want: netstate.Route{Dst: s4, Gateway: gw, Device: ens33, Priority: 10, Multipath: true, Table: 254, Type: netstate.Unicast, Protocol: 3}},
		{name: "IPv4 via IPv6, source, TOS",
			add: netstate.Route{Dst: s4, Gateway: netip.MustParseAddr("fe80::1"), Device: ens33, TOS: 16, PrefSrc: netip.MustParseAddr("192.168.1.57")},
			// The reader does not decode RTA_VIA.
			want: netstate.Route{Dst: s4, Device: ens33, TOS: 16, PrefSrc: netip.MustParseAddr("192.168.1.57"), Table: 254, Type: netstate.Unicast, Protocol: 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			netns.Must(t, ns.RouteAdd(tt.add, tt.hops...))
			if err := ns.RouteAdd(tt.add, tt.hops...); err == nil {
				t.Error("a second RouteAdd of the same route succeeded")
			}
			netns.Must(t, ns.RouteReplace(tt.add, tt.hops...))
			f := netstate.FamilyOf(tt.add.Dst.Addr())
			routes, err := ns.Routes(f)
			netns.Must(t, err)
			if !slices.Contains(routes, tt.want) {
				t.Errorf("not among the routes: %+v\n%s", tt.want, cmp.Diff(tt.want, routes, netipCmp()))
			}
			netns.Must(t, ns.RouteDel(tt.add))
			routes, err = ns.Routes(f)
			netns.Must(t, err)
			if slices.Contains(routes, tt.want) {
				t.Errorf("RouteDel left %+v", tt.want)
			}
		})
	}
}

// A silent deletion of the kernel: the reason why this project exists.
func TestSetDown_TakesRoutesAndNeighborsButNotFDB(t *testing.T) {
	ns, _, flannel := node(t)
	s := netip.MustParsePrefix("10.244.3.0/24")
	mac := netstate.MAC{0x12, 0xc6, 0x65, 0x89, 0xb4, 0xe3}
	r := netstate.Route{Dst: s, Gateway: s.Addr(), Device: flannel, OnLink: true}
	n := netstate.Neighbor{Device: flannel, IP: s.Addr(), MAC: mac}
	e := netstate.FDBEntry{Device: flannel, MAC: mac, Dst: netip.MustParseAddr("192.168.1.59")}
	netns.Must(t, ns.NeighReplace(n))
	netns.Must(t, ns.FDBReplace(e))
	netns.Must(t, ns.RouteReplace(r))
	count := func() [3]int {
		t.Helper()
		routes, err := ns.Routes(netstate.IPv4)
		netns.Must(t, err)
		neighbors, err := ns.Neighbors(netstate.IPv4)
		netns.Must(t, err)
		fdb, err := ns.FDB("flannel.1")
		netns.Must(t, err)
		n.State, e.State = netstate.NUDPermanent, netstate.NUDPermanent
		routes = slices.DeleteFunc(routes, func(got netstate.Route) bool { return got.Dst != s || got.Gateway != s.Addr() })
		neighbors = slices.DeleteFunc(neighbors, func(got netstate.Neighbor) bool { return got != n })
		fdb = slices.DeleteFunc(fdb, func(got netstate.FDBEntry) bool { return got != e })
		return [3]int{len(routes), len(neighbors), len(fdb)}
	}
	if got := count(); got != [3]int{1, 1, 1} {
		t.Fatalf("before: routes, neighbors, fdb entries = %v, want 1 each", got)
	}
	netns.Must(t, ns.SetDown("flannel.1"))
	netns.Must(t, ns.SetUp("flannel.1"))
	if got := count(); got != [3]int{0, 0, 1} {
		t.Errorf("after a flap: routes, neighbors, fdb entries = %v, want [0 0 1]", got)
	}
	netns.Must(t, ns.NeighReplace(n))
	netns.Must(t, ns.NeighDel(n))
	netns.Must(t, ns.FDBDel(e))
	if got := count(); got != [3]int{0, 0, 0} {
		t.Errorf("after the deletions: %v, want none", got)
	}
}

func TestRouteAppend(t *testing.T) {
	ns, ens33, flannel := node(t)
	s := netip.MustParsePrefix("10.244.3.0/24")
	netns.Must(t, ns.RouteAdd(netstate.Route{Dst: s, Gateway: s.Addr(), Device: flannel, OnLink: true}))
	netns.Must(t, ns.RouteAppend(netstate.Route{Dst: s, Gateway: netip.MustParseAddr("192.168.1.1")}))
	routes, err := ns.Routes(netstate.IPv4)
	netns.Must(t, err)
	var devices []int
	for _, r := range routes {
		if r.Dst == s {
			devices = append(devices, r.Device)
		}
	}
	if !slices.Equal(devices, []int{flannel, ens33}) {
		t.Errorf("devices of %s in order: %v, want [%d %d]", s, devices, flannel, ens33)
	}
}

func TestNextHopDel_TakesItsRoutes(t *testing.T) {
	ns, ens33, _ := node(t)
	s := netip.MustParsePrefix("10.244.3.0/24")
	netns.Must(t, ns.NextHopReplace(netns.NextHop{ID: 7, Family: netstate.IPv4, Device: ens33, Gateway: netip.MustParseAddr("192.168.1.1")}))
	netns.Must(t, ns.RouteAdd(netstate.Route{Dst: s, NextHopID: 7}))
	netns.Must(t, ns.NextHopDel(7))
	routes, err := ns.Routes(netstate.IPv4)
	netns.Must(t, err)
	if slices.ContainsFunc(routes, func(r netstate.Route) bool { return r.Dst == s }) {
		t.Error("the route outlived its next hop")
	}
}

// A rule that diverts: a datagram to the subnet is refused although the route is there.
func TestRules(t *testing.T) {
	ns, _, flannel := node(t)
	for _, s := range []netip.Prefix{netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("fd00:10:244:3::/64")} {
		f := netstate.FamilyOf(s.Addr())
		netns.Must(t, ns.RouteAdd(netstate.Route{Dst: s, Gateway: s.Addr(), Device: flannel, OnLink: true}))
		rule := netstate.Rule{Family: f, Priority: 100, Dst: s, Table: 1000}
		netns.Must(t, ns.RouteAdd(netstate.Route{Dst: s, Type: netstate.Unreachable, Table: 1000}))
		if err := connect(ns, s.Addr().Next()); err != nil {
			t.Errorf("%s without the rule: %v", s, err)
		}
		netns.Must(t, ns.RuleAdd(rule))
		if err := connect(ns, s.Addr().Next()); err == nil {
			t.Errorf("%s: the rule had no effect", s)
		}
		netns.Must(t, ns.RuleDel(rule))
		if err := connect(ns, s.Addr().Next()); err != nil {
			t.Errorf("%s after RuleDel: %v", s, err)
		}
	}
}

// connect asks the kernel for a route by connecting a UDP socket.
func connect(ns *netns.NS, to netip.Addr) error {
	return ns.Do(func() error {
		c, err := net.Dial("udp", netip.AddrPortFrom(to, 7).String())
		if err != nil {
			return err
		}
		return c.Close()
	})
}
