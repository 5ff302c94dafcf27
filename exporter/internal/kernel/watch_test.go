package kernel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// stateDiff shows how the contents of two pictures differ.
func stateDiff(want, got *netstate.State) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(netstate.State{}, "At", "Counters", "Hints", "Touched", "Triggered"))
}

func hasRoute(s *netstate.State, p peer) bool {
	return slices.ContainsFunc(s.RoutesTo(p.subnet), func(r *netstate.Route) bool {
		return r.Table == netstate.TableMain && r.Type == netstate.Unicast && s.LinkName(r.Device) == device(p.family())
	})
}

func hasNeighbor(s *netstate.State, p peer) bool {
	return slices.ContainsFunc(s.Neighbors, func(n netstate.Neighbor) bool {
		return n.IP == p.subnet.Addr() && n.MAC == p.mac && n.Permanent()
	})
}

func hasFDB(s *netstate.State, p peer) bool {
	return slices.ContainsFunc(s.FDB, func(e netstate.FDBEntry) bool { return e.MAC == p.mac && e.Dst == p.publicIP })
}

// answer is the kernel's plain lookup for a pod of the peer.
func answer(s *netstate.State, p peer) netstate.Lookup {
	l, _ := s.Lookup(netstate.Query{Dst: expect.PodAddress(p.subnet)})
	return l
}

func healthy(s *netstate.State, p peer) bool {
	return s.Complete && hasRoute(s, p) && hasNeighbor(s, p) && hasFDB(s, p) && answer(s, p).Route.Dst == p.subnet
}

// leaks reports whether packets to the peer take the default route.
func leaks(s *netstate.State, p peer) bool {
	l := answer(s, p)
	return !hasRoute(s, p) && l.Errno == 0 && l.Route.Dst.Bits() == 0 && s.LinkName(l.Route.Device) == "ul0"
}

func (w *watched) has(kind netstate.HintKind) bool {
	return slices.ContainsFunc(w.hints, func(h netstate.Hint) bool { return h.Kind == kind })
}

func TestFirstPicture(t *testing.T) {
	n := newNode(t, 2)
	w := n.watch(t, n.config())
	for _, p := range n.peers {
		if !healthy(w.last, p) {
			t.Errorf("%s is not healthy: %s", p.subnet, summary(w.last))
		}
	}
	if got := w.last.Counters.Resyncs; got["start"] != 1 || len(got) != 1 {
		t.Errorf("resyncs: %v, want one at the start", got)
	}
	if w.last.Touched != nil {
		t.Errorf("a sweep touches %v, want nil: all", w.last.Touched)
	}
	w.inSync()
	f, _ := w.last.Link(n.MustIndex(t, "flannel.1"))
	want := netstate.VXLAN{VNI: 1, Port: 8472, Local: netip.MustParseAddr("192.0.2.1")}
	if f.VXLAN != want || f.Kind != "vxlan" || f.MTU != 1450 || f.Lower != n.MustIndex(t, "ul0") {
		t.Errorf("flannel.1 = %+v, want %+v on ul0", f, want)
	}
	for _, f := range families() {
		if c, ok := w.last.NetConfOf(f, n.MustIndex(t, "cni0")); !ok || !c.Forwarding {
			t.Errorf("netconf of cni0, %s: %+v, want forwarding", f, c)
		}
	}
	// Forwarded traffic is looked up as coming from a pod through cni0.
	q := netstate.Query{Dst: expect.PodAddress(n.peers[0].subnet), Src: netip.MustParseAddr("10.244.0.2"), IIF: n.MustIndex(t, "cni0")}
	if l, ok := w.last.Lookup(q); !ok || l.Errno != 0 || l.Route.Dst != n.peers[0].subnet {
		t.Errorf("lookup %+v = %+v, %v", q, l, ok)
	}
	q.Src, q.IIF = flannel4.Addr(), 0
	if l, ok := w.last.Lookup(q); !ok || l.Errno != 0 || l.Route.Dst != n.peers[0].subnet {
		t.Errorf("lookup %+v = %+v, %v", q, l, ok)
	}
}

// TestChanges has the changes that take routes, neighbors or the path away, many
// of them without an event of the object that goes.
func TestChanges(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, n *node, p peer)
		seen   func(s *netstate.State, p peer) bool
		hint   netstate.HintKind
		never  netstate.HintKind // a hint that would be untrue; "" for none
		v4only bool
		// foreign adds routes that only a sweep reads right; without them a recheck is tested.
		foreign bool
	}{
		{name: "link down and up", hint: netstate.LinkChanged, seen: leaks, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.SetDown(device(p.family())))
			netns.Must(t, n.SetUp(device(p.family())))
		}},
		{name: "link down", hint: netstate.LinkChanged, seen: leaks, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.SetDown(device(p.family())))
		}},
		{name: "link deleted", hint: netstate.LinkDeleted, seen: leaks, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.DelLink(device(p.family())))
		}},
		{name: "link deleted and made again", hint: netstate.LinkDeleted, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.DelLink(device(p.family())))
			n.flannelDevice(t, p.family())
			netns.Must(t, n.NeighReplace(n.neighbor(t, p)))
		}, seen: func(s *netstate.State, p peer) bool {
			return leaks(s, p) && hasNeighbor(s, p) && slices.ContainsFunc(s.Links, func(l netstate.Link) bool { return l.Name == device(p.family()) && l.Up })
		}},
		{name: "lower device down", hint: netstate.LinkChanged, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.SetDown("ul0"))
		}, seen: func(s *netstate.State, p peer) bool {
			l, ok := s.Lookup(netstate.Query{Dst: p.publicIP})
			return hasRoute(s, p) && ok && l.Errno != 0
		}},
		{name: "lower device deleted", hint: netstate.LinkDeleted, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.DelLink("ul0"))
		}, seen: func(s *netstate.State, p peer) bool { return !hasRoute(s, p) && !hasFDB(s, p) }},
		{name: "last address deleted", hint: netstate.AddrDeleted, seen: leaks, v4only: true, change: func(t *testing.T, n *node, _ peer) {
			netns.Must(t, n.DelAddr("flannel.1", flannel4))
		}},
		{name: "MAC changed", hint: netstate.LinkMACChanged, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.SetMAC(device(p.family()), netstate.MAC{2, 9, 9, 9, 9, 9}))
		}, seen: func(s *netstate.State, p peer) bool { return hasRoute(s, p) && !hasNeighbor(s, p) && hasFDB(s, p) }},
		{name: "route deleted", hint: netstate.RouteDeleted, seen: leaks, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.RouteDel(netstate.Route{Dst: p.subnet}))
		}},
		{name: "route replaced", hint: netstate.RouteReplaced, change: func(t *testing.T, n *node, p peer) {
			r := n.route(t, p)
			r.Gateway = r.Gateway.Next()
			netns.Must(t, n.RouteReplace(r))
		}, seen: func(s *netstate.State, p peer) bool {
			return answer(s, p).Route.Gateway == p.subnet.Addr().Next() && s.RoutesTo(p.subnet)[0].Gateway == p.subnet.Addr().Next()
		}},
		{name: "more specific route, upper half", hint: netstate.RouteAdded, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.RouteAdd(netstate.Route{Dst: upper(p.subnet), Device: n.MustIndex(t, "ul0")}))
		}, seen: func(s *netstate.State, p peer) bool {
			l, ok := s.Lookup(netstate.Query{Dst: upper(p.subnet).Addr()})
			return ok && l.Route.Dst == upper(p.subnet) && len(s.RoutesInside(p.subnet)) == 1 && answer(s, p).Route.Dst == p.subnet
		}},
		{name: "blackhole", hint: netstate.RouteReplaced, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.RouteReplace(netstate.Route{Dst: p.subnet, Type: netstate.Blackhole}))
		}, seen: func(s *netstate.State, p peer) bool { return answer(s, p).Errno != 0 && !hasRoute(s, p) }},
		{name: "rule added", hint: netstate.RuleAdded, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.RouteAdd(netstate.Route{Dst: p.subnet, Device: n.MustIndex(t, "ul0"), Table: 100}))
			netns.Must(t, n.RuleAdd(netstate.Rule{Family: p.family(), Priority: 50, Table: 100, Dst: p.subnet}))
		}, seen: func(s *netstate.State, p peer) bool {
			l := answer(s, p)
			return l.Route.Table == 100 && s.LinkName(l.Route.Device) == "ul0" && len(s.RoutesTo(p.subnet)) == 2
		}},
		{name: "underlay blackholed", hint: netstate.RouteAdded, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.RouteAdd(netstate.Route{Dst: host(p.publicIP), Type: netstate.Blackhole}))
		}, seen: func(s *netstate.State, p peer) bool {
			l, ok := s.Lookup(netstate.Query{Dst: p.publicIP})
			return ok && l.Errno != 0 && hasRoute(s, p)
		}},
		{name: "next-hop object deleted", foreign: true, hint: netstate.NextHopDeleted, change: func(t *testing.T, n *node, p peer) {
			// The route uses the object from before; deleting that takes an IPv4 route without a route event.
			netns.Must(t, n.NextHopDel(nextHopID(p.family())))
		}, seen: func(s *netstate.State, p peer) bool {
			return !slices.ContainsFunc(s.Routes, func(r *netstate.Route) bool { return r.NextHopID == nextHopID(p.family()) })
		}},
		{name: "one leg of a multipath route lost", foreign: true, hint: netstate.LinkDeleted, change: func(t *testing.T, n *node, _ peer) {
			netns.Must(t, n.DelLink("leg"))
		}, seen: func(s *netstate.State, p peer) bool {
			return !slices.ContainsFunc(s.Routes, func(r *netstate.Route) bool { return r.Multipath && netstate.FamilyOf(r.Dst.Addr()) == p.family() })
		}},
		{name: "neighbor deleted", hint: netstate.NeighborDeleted, never: netstate.NeighborChanged, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.NeighDel(n.neighbor(t, p)))
		}, seen: func(s *netstate.State, p peer) bool { return !hasNeighbor(s, p) && hasRoute(s, p) }},
		{name: "neighbor altered", hint: netstate.NeighborChanged, change: func(t *testing.T, n *node, p peer) {
			e := n.neighbor(t, p)
			e.MAC = netstate.MAC{2, 1, 1, 1, 1, 1}
			netns.Must(t, n.NeighReplace(e))
		}, seen: func(s *netstate.State, p peer) bool { return !hasNeighbor(s, p) && hasRoute(s, p) }},
		{name: "FDB entry deleted", hint: netstate.FDBDeleted, change: func(t *testing.T, n *node, p peer) {
			netns.Must(t, n.FDBDel(n.entry(t, p)))
		}, seen: func(s *netstate.State, p peer) bool { return !hasFDB(s, p) && hasRoute(s, p) && hasNeighbor(s, p) }},
		{name: "forwarding switched off", hint: netstate.NetConfChanged, v4only: true, change: func(t *testing.T, n *node, _ peer) {
			netns.Must(t, n.Sysctl("net.ipv4.ip_forward", "0"))
		}, seen: func(s *netstate.State, p peer) bool {
			i := slices.IndexFunc(s.Lookups, func(l *netstate.Lookup) bool { return l.Query.IIF != 0 && l.Query.Dst.Is4() })
			return i >= 0 && s.Lookups[i].Errno != 0
		}},
	}
	for _, test := range tests {
		for i, f := range families() {
			if test.v4only && f != netstate.IPv4 {
				continue
			}
			t.Run(test.name+"/"+f.String(), func(t *testing.T) {
				n := newNode(t, 3)
				p := n.peers[2+i]
				if test.foreign {
					n.foreign(t)
				}
				w := n.watch(t, n.config())
				if !healthy(w.last, p) {
					t.Fatalf("not healthy to begin with: %s", summary(w.last))
				}
				test.change(t, n, p)
				w.until(test.name, func(s *netstate.State) bool { return s.Complete && test.seen(s, p) })
				if !w.has(test.hint) {
					t.Errorf("no hint %s: %+v", test.hint, w.hints)
				}
				if test.never != "" && w.has(test.never) {
					t.Errorf("hint %s: %+v", test.never, w.hints)
				}
				if w.last.Triggered.IsZero() && len(w.last.Hints) > 0 {
					t.Error("a State with hints has no Triggered time")
				}
				w.inSync()
			})
		}
	}
}

// foreign adds, inside the first peers' subnets, what flannel does not make: a
// route with a next-hop object and one with two next hops, in both families.
func (n *node) foreign(tb testing.TB) {
	netns.Must(tb, n.AddBridge("leg"))
	netns.Must(tb, n.SetUp("leg"))
	ul0, leg := n.MustIndex(tb, "ul0"), n.MustIndex(tb, "leg")
	for i, f := range families() {
		dst := n.peers[i].subnet
		netns.Must(tb, n.NextHopReplace(netns.NextHop{ID: nextHopID(f), Family: f, Device: ul0}))
		netns.Must(tb, n.RouteAdd(netstate.Route{Dst: netip.PrefixFrom(dst.Addr(), dst.Bits()+2), NextHopID: nextHopID(f)}))
		gw1 := netip.MustParseAddr([]string{"192.0.2.7", "2001:db8::7"}[i])
		gw2 := netip.MustParseAddr([]string{"192.0.3.7", "fe80::7"}[i])
		netns.Must(tb, n.RouteAdd(netstate.Route{Dst: upper(dst)}, netns.Hop{Device: ul0, Gateway: gw1}, netns.Hop{Device: leg, Gateway: gw2, OnLink: true}))
	}
}

func nextHopID(f netstate.Family) uint32 { return 100 + uint32(f) }

// upper is the upper half of a prefix.
func upper(p netip.Prefix) netip.Prefix {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, p.Bits()+1)
}
