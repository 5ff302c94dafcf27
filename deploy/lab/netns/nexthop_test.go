//go:build linux

package netns_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/netstate"
)

func routesTo(t *testing.T, ns *netns.NS, p netip.Prefix) []netstate.Route {
	t.Helper()
	routes, err := ns.Routes(netstate.FamilyOf(p.Addr()))
	netns.Must(t, err)
	return slices.DeleteFunc(routes, func(r netstate.Route) bool { return r.Dst != p || r.Table != netstate.TableMain })
}

// A group of two is a multipath route, and a plain one once it has one member.
func TestNextHopGroup(t *testing.T) {
	ns, ens33, _ := node(t)
	s := netip.MustParsePrefix("10.244.3.0/24")
	gw, gw2 := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")
	netns.Must(t, ns.NextHopReplace(netns.NextHop{ID: 7, Family: netstate.IPv4, Device: ens33, Gateway: gw}))
	netns.Must(t, ns.NextHopReplace(netns.NextHop{ID: 8, Family: netstate.IPv4, Device: ens33, Gateway: gw2}))
	netns.Must(t, ns.NextHopReplace(netns.NextHop{ID: 9, Group: []uint32{7, 8}}))
	netns.Must(t, ns.RouteAdd(netstate.Route{Dst: s, NextHopID: 9}))
	if r := routesTo(t, ns, s); len(r) != 1 || !r[0].Multipath || r[0].Gateway != gw {
		t.Errorf("with the group: %+v, want one multipath route, first via %s", r, gw)
	}
	netns.Must(t, ns.NextHopDel(7))
	if r := routesTo(t, ns, s); len(r) != 1 || r[0].Gateway != gw2 {
		t.Errorf("with one member left: %+v, want a route via %s", r, gw2)
	}
}

func TestRouteReplaceFor(t *testing.T) {
	ns, _, flannel := node(t)
	if !netns.InUserNamespace() { // where the route would be there for half a minute
		netns.Must(t, ns.Sysctl("net.ipv6.route.gc_interval", "1"))
	}
	s := netip.MustParsePrefix("fd00:10:244:3::/64")
	netns.Must(t, ns.RouteReplaceFor(netstate.Route{Dst: s, Gateway: s.Addr(), Device: flannel, OnLink: true}, time.Second))
	if r := routesTo(t, ns, s); len(r) != 1 {
		t.Fatalf("routes %+v, want one", r)
	}
	if netns.InUserNamespace() {
		return
	}
	waitFor(t, "the route to expire", func() bool { return len(routesTo(t, ns, s)) == 0 })
}
