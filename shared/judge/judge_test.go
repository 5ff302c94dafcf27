package judge

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

var opts = Options{Node: "self", Grace: time.Minute}

const ip4, ip6 = netstate.IPv4, netstate.IPv6

// outcome is what a test says about a bad lease.
type outcome struct {
	State   verdict.State
	Effect  verdict.Effect
	Cause   verdict.Cause
	Partial bool
}

// bad returns the leases that are not ok, by subnet.
func bad(s *wire.Snapshot) map[string]outcome {
	m := map[string]outcome{}
	for _, l := range s.Leases {
		if l.State != verdict.OK {
			m[l.Lease.String()] = outcome{l.State, l.Effect, l.Cause, l.Partial}
		}
	}
	return m
}

func route(dst, gw string, dev int, table uint32) netstate.Route {
	r := netstate.Route{Table: table, Dst: netip.MustParsePrefix(dst), Type: netstate.Unicast, Device: dev}
	if gw != "" {
		r.Gateway = netip.MustParseAddr(gw)
	}
	return r
}

// TestNext_OneFault breaks one thing in a healthy world and holds the one lease
// that it concerns (10.100.21.0/24, whose pod address is 10.100.21.2) against
// the vocabulary; every other lease must stay ok. Each case runs twice: the
// fault before the start (cause unknown) and after it (cause from the hint).
func TestNext_OneFault(t *testing.T) {
	const subnet = "10.100.21.0/24"
	pfx := netip.MustParsePrefix
	addr := netip.MustParseAddr
	ofSubnet := func(r netstate.Route) bool { return r.Dst == pfx(subnet) }
	hint := func(kind netstate.HintKind, prefix string) netstate.Hint {
		return netstate.Hint{At: t0, Kind: kind, Family: ip4, Prefix: pfx(prefix), Table: 254, PortID: 77}
	}
	tests := []struct {
		name   string
		spoil  func(*world)
		hint   netstate.Hint
		want   outcome
		advice string // part of the first command
	}{
		{
			"route deleted",
			func(w *world) { w.routes = remove(w.routes, ofSubnet) },
			hint(netstate.RouteDeleted, subnet),
			outcome{verdict.Missing, verdict.Leaking, verdict.Deleted, false},
			"ip route replace 10.100.21.0/24 via 10.100.21.0 dev flannel.1 onlink",
		},
		{
			"route deleted behind a guard route",
			func(w *world) {
				w.routes = remove(w.routes, ofSubnet)
				w.routes = append(w.routes, netstate.Route{Table: 254, Dst: pfx("10.100.0.0/16"), Type: netstate.Unreachable, Priority: 4278198272})
			},
			hint(netstate.RouteDeleted, subnet),
			outcome{verdict.Missing, verdict.Unreachable, verdict.Deleted, false},
			"ip route replace",
		},
		{
			"more specific route in the lower half",
			func(w *world) { w.routes = append(w.routes, route("10.100.21.0/25", "192.168.1.77", ifEth, 254)) },
			hint(netstate.RouteAdded, "10.100.21.0/25"),
			outcome{verdict.Shadowed, verdict.EffectDiverted, verdict.Replaced, true},
			"ip route del 10.100.21.0/25 via 192.168.1.77 dev ens33",
		},
		{
			"more specific route in the upper half",
			func(w *world) { w.routes = append(w.routes, route("10.100.21.128/25", "192.168.1.77", ifEth, 254)) },
			hint(netstate.RouteAdded, "10.100.21.128/25"),
			outcome{verdict.Shadowed, verdict.EffectDiverted, verdict.Replaced, true},
			"ip route del 10.100.21.128/25 via 192.168.1.77 dev ens33",
		},
		{
			"preferred route for the same subnet",
			func(w *world) {
				for i := range w.routes {
					if ofSubnet(w.routes[i]) {
						w.routes[i].Priority = 50
					}
				}
				w.routes = append(w.routes, route(subnet, "192.168.1.77", ifEth, 254))
			},
			hint(netstate.RouteAdded, subnet),
			outcome{verdict.Shadowed, verdict.EffectDiverted, verdict.Replaced, false},
			"ip route del 10.100.21.0/24 via 192.168.1.77 dev ens33",
		},
		{
			"rule diverts to another table",
			func(w *world) {
				w.rules = append(w.rules, netstate.Rule{Family: ip4, Priority: 100, Table: 100, Action: 1, Dst: pfx(subnet)})
				w.routes = append(w.routes, route("0.0.0.0/0", "", ifVPN, 100))
			},
			hint(netstate.RuleAdded, subnet),
			outcome{verdict.Diverted, verdict.Leaking, verdict.RuleChanged, false},
			"ip rule add to 10.100.21.0/24 lookup main pref 99",
		},
		{
			"rule diverts only what comes from the flannel address",
			func(w *world) {
				w.rules = append(w.rules, netstate.Rule{Family: ip4, Priority: 100, Table: 100, Action: 1, Dst: pfx(subnet), Src: pfx("10.100.10.0/24")})
				w.routes = append(w.routes, route("10.0.0.0/8", "", ifVPN, 100))
			},
			hint(netstate.RuleAdded, subnet),
			outcome{verdict.Diverted, verdict.Leaking, verdict.RuleChanged, false},
			"ip rule add to 10.100.21.0/24 lookup main pref 99",
		},
		{
			"rule makes it unreachable",
			func(w *world) {
				w.rules = append(w.rules, netstate.Rule{Family: ip4, Priority: 100, Action: 7, Dst: pfx(subnet)})
			},
			hint(netstate.RuleAdded, subnet),
			outcome{verdict.Blackholed, verdict.Unreachable, verdict.RuleChanged, false},
			"ip rule add to 10.100.21.0/24 lookup main pref 99",
		},
		{
			"blackhole instead of the route",
			func(w *world) {
				w.routes = remove(w.routes, ofSubnet)
				w.routes = append(w.routes, netstate.Route{Table: 254, Dst: pfx(subnet), Type: netstate.Blackhole})
			},
			hint(netstate.RouteReplaced, subnet),
			outcome{verdict.Blackholed, verdict.EffectBlackhole, verdict.Replaced, false},
			"ip route del blackhole 10.100.21.0/24",
		},
		{
			"multipath, whose first next hop is on another device",
			func(w *world) {
				r := w.route(pfx(subnet))
				r.Device, r.Gateway, r.OnLink, r.Multipath = ifEth, addr("192.168.1.1"), false, true
			},
			hint(netstate.RouteReplaced, subnet),
			outcome{verdict.WrongGateway, verdict.EffectDiverted, verdict.Replaced, false},
			"ip route replace " + subnet,
		},
		{
			"wrong gateway",
			func(w *world) {
				for i := range w.routes {
					if ofSubnet(w.routes[i]) {
						w.routes[i].Gateway = addr("10.100.22.0")
					}
				}
			},
			hint(netstate.RouteReplaced, subnet),
			outcome{verdict.WrongGateway, verdict.EffectDiverted, verdict.Replaced, false},
			"ip route replace",
		},
		{
			"wrong device",
			func(w *world) {
				w.routes = remove(w.routes, ofSubnet)
				w.routes = append(w.routes, route(subnet, "192.168.1.1", ifEth, 254))
			},
			hint(netstate.RouteReplaced, subnet),
			outcome{verdict.WrongDevice, verdict.EffectDiverted, verdict.Replaced, false},
			"ip route replace",
		},
		{
			"neighbor deleted",
			func(w *world) {
				w.neighbors = remove(w.neighbors, func(n netstate.Neighbor) bool { return n.IP == addr("10.100.21.0") })
			},
			hint(netstate.NeighborDeleted, "10.100.21.0/32"),
			outcome{verdict.NeighborMissing, verdict.Undeliverable, verdict.Deleted, false},
			"ip neigh replace 10.100.21.0 lladdr 02:04:00:00:00:15 dev flannel.1 nud permanent",
		},
		{
			"neighbor altered",
			func(w *world) {
				for i := range w.neighbors {
					if w.neighbors[i].IP == addr("10.100.21.0") {
						w.neighbors[i].MAC = mac(ip4, 999)
					}
				}
			},
			hint(netstate.NeighborChanged, "10.100.21.0/32"),
			outcome{verdict.NeighborWrong, verdict.Undeliverable, verdict.Replaced, false},
			"ip neigh replace 10.100.21.0 lladdr 02:04:00:00:00:15 dev flannel.1 nud permanent",
		},
		{
			"fdb entry deleted",
			func(w *world) {
				w.fdb = remove(w.fdb, func(f netstate.FDBEntry) bool { return f.MAC == mac(ip4, 21) })
			},
			netstate.Hint{At: t0, Kind: netstate.FDBDeleted, Index: ifVX4, Device: "flannel.1"},
			outcome{verdict.FDBMissing, verdict.Undeliverable, verdict.Deleted, false},
			"bridge fdb replace 02:04:00:00:00:15 dev flannel.1 dst 192.168.1.21 self permanent",
		},
		{
			"fdb entry altered",
			func(w *world) {
				for i := range w.fdb {
					if w.fdb[i].MAC == mac(ip4, 21) {
						w.fdb[i].Dst = addr("192.168.1.99")
					}
				}
			},
			netstate.Hint{At: t0, Kind: netstate.FDBChanged, Index: ifVX4, Device: "flannel.1", Prefix: pfx("192.168.1.99/32")},
			outcome{verdict.FDBWrong, verdict.Undeliverable, verdict.Replaced, false},
			"bridge fdb replace 02:04:00:00:00:15 dev flannel.1 dst 192.168.1.21 self permanent",
		},
		{
			"underlay to the peer blackholed",
			func(w *world) {
				w.routes = append(w.routes, netstate.Route{Table: 254, Dst: pfx("192.168.1.21/32"), Type: netstate.Blackhole})
			},
			hint(netstate.RouteAdded, "192.168.1.21/32"),
			outcome{verdict.UnderlayDown, verdict.Undeliverable, verdict.UnderlayChanged, false},
			"ip route show table all to match 192.168.1.21",
		},
		{
			"address of the peer's subnet on this node",
			func(w *world) {
				w.addrs = append(w.addrs, netstate.Addr{Device: ifCNI, Prefix: pfx("10.100.21.2/32")})
				w.routes = append(w.routes, netstate.Route{Table: 255, Dst: pfx("10.100.21.2/32"), Type: netstate.Local, Device: ifCNI})
			},
			hint(netstate.AddrAdded, "10.100.21.2/32"),
			outcome{verdict.Shadowed, verdict.EffectLocal, verdict.Replaced, true},
			"ip address del 10.100.21.2/32 dev cni0",
		},
	}
	for _, tt := range tests {
		for _, after := range []bool{false, true} {
			name := tt.name + "/before the start"
			want := tt.want
			if after {
				name = tt.name + "/after the start"
			} else {
				want.Cause = verdict.CauseUnknown
			}
			t.Run(name, func(t *testing.T) {
				w := newWorld(3, ip4, ip6)
				var prev *wire.Snapshot
				if after {
					prev, _ = Next(opts, nil, w.input())
					if !prev.Healthy {
						t.Fatalf("not healthy before the fault: %v", bad(prev))
					}
					w.later(time.Hour).hints = []netstate.Hint{tt.hint}
				}
				tt.spoil(w)
				got, _ := Next(opts, prev, w.input())
				if diff := cmp.Diff(map[string]outcome{subnet: want}, bad(got)); diff != "" {
					t.Errorf("bad leases (-want +got):\n%s", diff)
				}
				if got.Healthy {
					t.Error("healthy in spite of the fault")
				}
				if len(got.Incidents) != 1 || got.Incidents[0].Leases != 1 {
					t.Errorf("incidents: %+v, want one with one lease", got.Incidents)
				}
				for _, l := range got.Leases {
					if l.State != verdict.OK && (len(l.Advice) == 0 || !strings.HasPrefix(l.Advice[0].Command, tt.advice)) {
						t.Errorf("advice %+v, want the first to begin with %q", l.Advice, tt.advice)
					}
				}
			})
		}
	}
}

func TestNext_Flap(t *testing.T) {
	w := newWorld(3, ip4)
	s, _ := Next(opts, nil, w.input())
	if !s.Healthy || s.Summary.Expected != 3 || s.Summary.Present != 3 {
		t.Fatalf("healthy %v, summary %+v", s.Healthy, s.Summary)
	}
	routes, neighbors := w.routes, w.neighbors
	w.routes, w.neighbors = append([]netstate.Route(nil), routes...), append([]netstate.Neighbor(nil), neighbors...)
	flapped := w.later(time.Hour).at
	w.flap(ip4)
	s, _ = Next(opts, s, w.input())
	for _, l := range s.Leases {
		if got := (outcome{l.State, l.Effect, l.Cause, false}); got != (outcome{verdict.Missing, verdict.Leaking, verdict.CauseLinkDown, false}) {
			t.Errorf("%s after the flap: %+v", l.Lease, got)
		}
		if want := "via 192.168.1.1 dev ens33 by the default route"; !strings.Contains(l.Lookup, want) {
			t.Errorf("lookup %q, want %q in it", l.Lookup, want)
		}
		if len(l.Advice) != 3 {
			t.Errorf("advice %v, want the route, the neighbor and the restart", l.Advice)
		}
	}
	if len(s.Incidents) != 1 || s.Incidents[0].Leases != 3 || s.Incidents[0].Device != "flannel.1" {
		t.Errorf("incidents %+v, want one of flannel.1 with 3 leases", s.Incidents)
	}
	if s.Summary.Missing != 3 {
		t.Errorf("missing %d, want 3", s.Summary.Missing)
	}

	w.hints = nil
	w.later(time.Minute).routes = routes
	s, _ = Next(opts, s, w.input())
	for _, l := range s.Leases {
		if got := (outcome{l.State, l.Effect, l.Cause, false}); got != (outcome{verdict.NeighborMissing, verdict.Undeliverable, verdict.CauseLinkDown, false}) {
			t.Errorf("%s with the routes alone: %+v", l.Lease, got)
		}
		if !l.Since.Equal(flapped) {
			t.Errorf("since %s, want the time of the flap %s", l.Since, flapped)
		}
	}
	if s.Summary.Missing != 0 {
		t.Errorf("missing %d, want 0: the routes are there", s.Summary.Missing)
	}

	w.later(time.Minute).neighbors = neighbors
	s, _ = Next(opts, s, w.input())
	if !s.Healthy || len(s.Incidents) != 0 || s.IncidentsTotal["link_down"] != 1 {
		t.Errorf("after the repair: healthy %v, incidents %+v, totals %v", s.Healthy, s.Incidents, s.IncidentsTotal)
	}
}

// An IPv6 device loses its address when it is set down.
func TestNext_FlapIPv6(t *testing.T) {
	w := newWorld(2, ip4, ip6)
	s, _ := Next(opts, nil, w.input())
	w.later(time.Hour).flap(ip6)
	s, _ = Next(opts, s, w.input())
	for _, l := range s.Leases {
		switch {
		case l.Family == ip4 && l.State != verdict.OK:
			t.Errorf("%s is %s", l.Lease, l.State)
		case l.Family == ip6 && (l.State != verdict.LinkDown || l.Effect != verdict.Leaking || l.Cause != verdict.CauseLinkDown):
			t.Errorf("%s: %+v", l.Lease, l)
		case l.Family == ip6 && l.Advice[0].Command != "ip address replace fd00:10:a::/128 dev flannel-v6.1":
			t.Errorf("first advice %q", l.Advice[0].Command)
		}
	}
}

func TestNext_Device(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*world)
		hints []netstate.Hint
		want  outcome
	}{
		{
			"deleted",
			func(w *world) {
				w.flap(ip4)
				w.links = remove(w.links, func(l netstate.Link) bool { return l.Index == ifVX4 })
				w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == ifVX4 })
				w.hints = []netstate.Hint{{Kind: netstate.LinkDeleted, Device: "flannel.1", Index: ifVX4}}
			},
			nil, outcome{verdict.LinkDown, verdict.Leaking, verdict.LinkDeleted, false},
		},
		{
			"down",
			func(w *world) { w.flap(ip4); w.link(ifVX4).Up = false; w.hints = w.hints[:1] },
			nil, outcome{verdict.LinkDown, verdict.Leaking, verdict.CauseLinkDown, false},
		},
		{
			"address removed",
			func(w *world) {
				w.flap(ip4)
				w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == ifVX4 })
				w.hints = []netstate.Hint{{Kind: netstate.AddrDeleted, Family: ip4, Device: "flannel.1", Index: ifVX4, PortID: 5}}
			},
			nil, outcome{verdict.LinkDown, verdict.Leaking, verdict.AddressRemoved, false},
		},
		{
			"re-created without its leases",
			func(w *world) {
				w.flap(ip4)
				w.fdb = nil
				w.link(ifVX4).Index = 9
				for i := range w.addrs {
					if w.addrs[i].Device == ifVX4 {
						w.addrs[i].Device = 9
					}
				}
				w.hints = []netstate.Hint{{Kind: netstate.LinkDeleted, Device: "flannel.1", Index: ifVX4}, {Kind: netstate.LinkChanged, Device: "flannel.1", Index: 9, Up: true}}
			},
			nil, outcome{verdict.Missing, verdict.Leaking, verdict.LinkDeleted, false},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(3, ip4)
			s, _ := Next(opts, nil, w.input())
			w.later(time.Hour)
			tt.spoil(w)
			s, _ = Next(opts, s, w.input())
			for _, l := range s.Leases {
				if got := (outcome{l.State, l.Effect, l.Cause, l.Partial}); got != tt.want {
					t.Errorf("%s: %+v, want %+v", l.Lease, got, tt.want)
				}
			}
		})
	}
}

// TestNext_Cause names the cause by the hints as the kernel sends them; that it
// sends them so is shown on a real one (deploy/lab/e2e/testdata/rows.txt).
func TestNext_Cause(t *testing.T) {
	const subnet4, subnet6 = "10.100.21.0/24", "fd00:10:15::/64"
	pfx := netip.MustParsePrefix
	down := func(name string, index int) netstate.Hint {
		return netstate.Hint{At: t0, Kind: netstate.LinkChanged, Device: name, Index: index}
	}
	deleted := func(name string, index int) netstate.Hint {
		return netstate.Hint{At: t0, Kind: netstate.LinkDeleted, Device: name, Index: index}
	}
	route6 := netstate.Hint{At: t0, Kind: netstate.RouteDeleted, Family: ip6, Prefix: pfx(subnet6), Table: 254, Device: "flannel-v6.1", Index: ifVX6}
	addr6 := netstate.Hint{At: t0, Kind: netstate.AddrDeleted, Family: ip6, Prefix: pfx("fd00:10:a::/128"), Device: "flannel-v6.1", Index: ifVX6}
	without := func(subnet string) func(*world) {
		return func(w *world) {
			w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Dst == pfx(subnet) })
		}
	}
	lost := func(dev int) func(*world) { // its addresses, routes and neighbors
		return func(w *world) {
			w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Device == dev })
			w.neighbors = remove(w.neighbors, func(n netstate.Neighbor) bool { return n.Device == dev })
			w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == dev })
		}
	}
	gone := func(dev int) func(*world) {
		return func(w *world) {
			lost(dev)(w)
			w.links = remove(w.links, func(l netstate.Link) bool { return l.Index == dev })
		}
	}
	otherGateway := func(w *world) {
		for i := range w.routes {
			if w.routes[i].Dst == pfx(subnet4) {
				w.routes[i].Gateway = netip.MustParseAddr("10.100.20.0")
			}
		}
	}
	tests := []struct {
		name   string
		subnet string
		spoil  func(*world)
		hints  []netstate.Hint
		state  verdict.State
		want   verdict.Cause
	}{
		{"a device that is deleted is set down first", subnet4, gone(ifVX4),
			[]netstate.Hint{down("flannel.1", ifVX4), deleted("flannel.1", ifVX4)}, verdict.LinkDown, verdict.LinkDeleted},
		{"with IPv6 routes announced in between", subnet6, gone(ifVX6),
			[]netstate.Hint{down("flannel-v6.1", ifVX6), route6, addr6, deleted("flannel-v6.1", ifVX6)}, verdict.LinkDown, verdict.LinkDeleted},
		{"a next-hop object is replaced", subnet4, otherGateway,
			[]netstate.Hint{{At: t0, Kind: netstate.NextHopChanged, Index: ifVX4, PortID: 7}}, verdict.WrongGateway, verdict.Replaced},
		{"a device is made anew, and is not up yet", subnet4, func(w *world) { w.flap(ip4) },
			[]netstate.Hint{deleted("flannel.1", ifVX4), {At: t0, Kind: netstate.LinkAdded, Device: "flannel.1", Index: 9}, {At: t0, Kind: netstate.LinkChanged, Device: "flannel.1", Index: 9, Up: true}},
			verdict.Missing, verdict.LinkDeleted},
		{"what was put somewhere meanwhile took no route away", subnet4, without(subnet4),
			[]netstate.Hint{
				{At: t0, Kind: netstate.NextHopChanged, PortID: 7},
				{At: t0, Kind: netstate.RouteAdded, Family: ip4, Prefix: pfx("10.0.0.0/8"), PortID: 7},
				{At: t0, Kind: netstate.RouteDeleted, Family: ip4, Prefix: pfx(subnet4), PortID: 7},
			}, verdict.Missing, verdict.Deleted},
		{"a next-hop object is deleted", subnet4, without(subnet4),
			[]netstate.Hint{{At: t0, Kind: netstate.NextHopDeleted, PortID: 7}}, verdict.Missing, verdict.NextHopRemoved},
		{"another device takes a leg of the route with it", subnet4, without(subnet4),
			[]netstate.Hint{down("tun0", ifVPN), deleted("tun0", ifVPN)}, verdict.Missing, verdict.LinkDeleted},
		{"the device of a direct route is set down", subnet4, without(subnet4),
			[]netstate.Hint{down("ens33", ifEth)}, verdict.Missing, verdict.CauseLinkDown},
		{"the same, and IPv6 announces it", subnet6, without(subnet6),
			[]netstate.Hint{down("ens33", ifEth), route6, {At: t0, Kind: netstate.AddrDeleted, Family: ip6, Index: ifEth}}, verdict.Missing, verdict.CauseLinkDown},
		{"disable_ipv6", subnet6, lost(ifVX6), []netstate.Hint{route6, addr6}, verdict.LinkDown, verdict.SysctlChanged},
		{"disable_ipv6, many leases: the routes' events were dropped", subnet6, lost(ifVX6), []netstate.Hint{addr6}, verdict.LinkDown, verdict.AddressRemoved},
		{"an MTU below IPv6's", subnet6, lost(ifVX6),
			[]netstate.Hint{{At: t0, Kind: netstate.LinkChanged, Device: "flannel-v6.1", Index: ifVX6, Up: true}, route6, addr6}, verdict.LinkDown, verdict.AddressRemoved},
		{"a lifetime ends", subnet6, without(subnet6), []netstate.Hint{route6}, verdict.Missing, verdict.Expired},
		{"a rule sends nothing to main anymore", subnet4, func(w *world) {
			w.rules = remove(w.rules, func(r netstate.Rule) bool { return r.Table == 254 && r.Family == ip4 })
		}, []netstate.Hint{{At: t0, Kind: netstate.RuleDeleted, Family: ip4, PortID: 7}}, verdict.Missing, verdict.RuleChanged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(3, ip4, ip6)
			s, _ := Next(opts, nil, w.input())
			w.later(time.Hour)
			tt.spoil(w)
			w.hints = tt.hints
			s, _ = Next(opts, s, w.input())
			for _, l := range s.Leases {
				if tt.want == verdict.RuleChanged && l.Family == ip4 && l.Advice[0].Command != "ip rule add to 0.0.0.0/0 lookup main pref 32766" {
					t.Errorf("advice %+v", l.Advice)
				}
				if l.Lease == pfx(tt.subnet) && (l.State != tt.state || l.Cause != tt.want) {
					t.Errorf("%s because of %s, want %s because of %s", l.State, l.Cause, tt.state, tt.want)
				}
			}
		})
	}
}

func TestNext_Pending(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	fresh := leaseOf(ip4, 40)
	w.later(time.Hour).generation++
	w.peers = append(w.peers, fresh)
	state := w.state()
	joined := w.at

	// The set is there before the kernel was asked about it.
	old := newWorld(2, ip4).state()
	s, _ = Next(opts, s, Input{Set: w.set(), State: old, Now: joined})
	if got := bad(s); len(got) != 1 || got["10.100.40.0/24"].State != verdict.Pending || !s.Healthy {
		t.Fatalf("before the kernel was asked: %v, healthy %v", got, s.Healthy)
	}
	s, wake := Next(opts, s, Input{Set: w.set(), State: state, Now: joined.Add(time.Second)})
	if got := bad(s); got["10.100.40.0/24"].State != verdict.Pending || !s.Healthy {
		t.Fatalf("within the grace: %v, healthy %v", got, s.Healthy)
	}
	if want := joined.Add(time.Minute); !wake.Equal(want) {
		t.Errorf("wake at %s, want %s", wake, want)
	}
	if s.Summary.Missing != 0 || s.Summary.Expected != 2 {
		t.Errorf("a pending route counts as expected: %+v", s.Summary)
	}
	s, _ = Next(opts, s, Input{Set: w.set(), State: state, Now: wake})
	want := outcome{verdict.Missing, verdict.Leaking, verdict.NeverInstalled, false}
	if got := bad(s)["10.100.40.0/24"]; got != want || s.Healthy {
		t.Errorf("after the grace: %+v, want %+v", got, want)
	}
}

// A lease that changes is pending again, and names the change if nothing follows.
func TestNext_LeaseChanged(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	w.later(time.Hour).peers[0].MAC = mac(ip4, 500)
	s, _ = Next(opts, s, w.input())
	if got := bad(s)["10.100.20.0/24"]; got.State != verdict.Pending {
		t.Fatalf("at once: %+v", got)
	}
	s, _ = Next(opts, s, w.later(time.Minute).input())
	want := outcome{verdict.NeighborWrong, verdict.Undeliverable, verdict.LeaseChanged, false}
	if got := bad(s)["10.100.20.0/24"]; got != want {
		t.Errorf("after the grace: %+v, want %+v", got, want)
	}
}

// An exporter restart judges old leases at once, and young Nodes not before their grace.
func TestNext_Restart(t *testing.T) {
	w := newWorld(2, ip4)
	w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Device == ifVX4 })
	w.peers[0].Created = t0.Add(-10 * time.Second)
	s, wake := Next(opts, nil, w.input())
	got := bad(s)
	if got["10.100.20.0/24"].State != verdict.Pending || got["10.100.21.0/24"].State != verdict.Missing {
		t.Errorf("%v", got)
	}
	if want := t0.Add(50 * time.Second); !wake.Equal(want) {
		t.Errorf("wake at %s, want %s", wake, want)
	}
}

func TestNext_Incomplete(t *testing.T) {
	w := newWorld(2, ip4)
	w.flap(ip4)
	for name, in := range map[string]Input{
		"nothing":           {Now: t0},
		"no kernel":         {Set: w.set(), Now: t0},
		"no leases":         {State: w.state(), Now: t0},
		"broken kernel":     {Set: w.set(), State: &netstate.State{Problem: "too many open files"}, Now: t0},
		"leases never read": {Set: &lease.Set{Source: "file", Problem: "no such file"}, State: w.state(), Now: t0},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := Next(opts, nil, in)
			if s.Healthy || s.Complete {
				t.Errorf("healthy %v, complete %v on no data", s.Healthy, s.Complete)
			}
			for l, o := range bad(s) {
				if o.State != verdict.Unknown {
					t.Errorf("%s is %s, want unknown", l, o.State)
				}
			}
			if n := s.Summary.Missing + s.Summary.Stale; n != 0 {
				t.Errorf("missing and stale %d on no data", n)
			}
		})
	}
}

// The source is lost later: the leases keep being judged, nothing new becomes stale.
func TestNext_SourceLost(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	w.later(time.Hour).flap(ip4)
	w.routes = append(w.routes, netstate.Route{
		Table: 254, Dst: subnetOf(ip4, 77), Type: netstate.Unicast, Device: ifVX4, Gateway: subnetOf(ip4, 77).Addr(), OnLink: true,
	})
	in := w.input()
	in.Set.Complete, in.Set.Problem = false, "the file is gone"
	s, _ = Next(opts, s, in)
	if s.Complete || s.Healthy || s.Summary.States[verdict.Missing] != 2 || len(s.Stale) != 0 {
		t.Errorf("complete %v, states %v, stale %v", s.Complete, s.Summary.States, s.Stale)
	}
}

func TestNext_Stale(t *testing.T) {
	w := newWorld(3, ip4, ip6)
	s, _ := Next(opts, nil, w.input())
	left := w.peers[0]
	w.later(time.Hour).generation++
	w.peers = w.peers[1:]
	s, wake := Next(opts, s, w.input())
	if !s.Healthy || s.Summary.Stale != 0 || wake.IsZero() {
		t.Fatalf("within the grace: healthy %v, stale %d, wake %s", s.Healthy, s.Summary.Stale, wake)
	}
	w.at = wake
	s, _ = Next(opts, s, w.input())
	if !s.Healthy || s.Summary.Stale != 3 {
		t.Errorf("after the grace: healthy %v, stale %+v", s.Healthy, s.Stale)
	}
	if got, want := s.Stale[0].Advice[0].Command, "ip route del "+left.Subnet.String()+" via 10.100.20.0 dev flannel.1"; got != want {
		t.Errorf("advice %q, want %q", got, want)
	}

	t.Run("before the start", func(t *testing.T) {
		s, _ := Next(opts, nil, w.input())
		if !s.Healthy || s.Summary.Stale != 3 {
			t.Errorf("healthy %v, stale %+v, want 3 at once: they are older than we are", s.Healthy, s.Stale)
		}
	})
	t.Run("gone", func(t *testing.T) {
		w := newWorld(2, ip4)
		s, _ := Next(opts, s, w.input())
		if s.Summary.Stale != 0 {
			t.Errorf("stale %+v", s.Stale)
		}
	})
	t.Run("beside a malformed node", func(t *testing.T) {
		w.peers[0].Malformed, w.peers[0].Subnet = "backend-data is not JSON", netip.Prefix{}
		s, _ := Next(opts, nil, w.input())
		if s.Summary.Stale != 0 {
			t.Errorf("an object that may be the malformed node's is called stale: %+v", s.Stale)
		}
	})
}

func TestNext_Conflict(t *testing.T) {
	w := newWorld(3, ip4)
	w.peers[1].MAC = w.peers[0].MAC
	w.peers[2].Subnet = w.own[0].Subnet
	s, _ := Next(opts, nil, w.input())
	for _, l := range s.Leases {
		if l.State != verdict.Conflict || l.Reason == "" {
			t.Errorf("%s is %s (%s), want conflict", l.Peer, l.State, l.Reason)
		}
	}
	if s.Healthy || s.Summary.Expected != 0 {
		t.Errorf("healthy %v, expected %d", s.Healthy, s.Summary.Expected)
	}
}

func TestNext_OtherStates(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*world, *lease.Lease)
		want  outcome
		well  bool
	}{
		{"malformed", func(_ *world, l *lease.Lease) { l.Malformed = "x" }, outcome{verdict.Unknown, verdict.EffectUnknown, "", false}, false},
		{"another backend", func(_ *world, l *lease.Lease) { l.BackendType = "host-gw" }, outcome{verdict.Unsupported, verdict.EffectUnknown, "", false}, true},
		{"another VNI", func(_ *world, l *lease.Lease) { l.VNI = 4096 }, outcome{verdict.VNIMismatch, verdict.Undeliverable, verdict.CauseUnknown, false}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(2, ip4)
			tt.spoil(w, &w.peers[0])
			s, _ := Next(opts, nil, w.input())
			if diff := cmp.Diff(map[string]outcome{"10.100.20.0/24": tt.want}, bad(s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if s.Healthy != tt.well {
				t.Errorf("healthy %v, want %v", s.Healthy, tt.well)
			}
		})
	}
}

// A node that moved to another CNI keeps flannel's annotations.
func TestNext_LeftOver(t *testing.T) {
	w := newWorld(2, ip4)
	w.flap(ip4)
	w.links = remove(w.links, func(l netstate.Link) bool { return l.Index == ifVX4 })
	w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == ifVX4 })
	other := *w
	w.routes = append(w.routes, route("10.100.20.0/24", "", ifVPN, 254), route("10.100.21.0/26", "192.168.1.77", ifEth, 254))
	s, _ := Next(opts, nil, w.input())
	if s.Summary.States[verdict.Unsupported] != 2 || !s.Healthy {
		t.Errorf("states %v, healthy %v", s.Summary.States, s.Healthy)
	}
	t.Run("a wide route proves nothing", func(t *testing.T) {
		w := other
		w.routes = append(slices.Clone(w.routes), route("10.0.0.0/8", "192.168.1.77", ifEth, 254))
		s, _ := Next(opts, nil, w.input())
		if s.Summary.States[verdict.LinkDown] != 2 || s.Healthy {
			t.Errorf("states %v, healthy %v", s.Summary.States, s.Healthy)
		}
	})
	t.Run("nor any route where flannel was seen at work", func(t *testing.T) {
		before, _ := Next(opts, nil, newWorld(2, ip4).input())
		s, _ := Next(opts, before, w.later(time.Hour).input())
		if s.Summary.States[verdict.LinkDown] != 2 || s.Healthy {
			t.Errorf("states %v, healthy %v", s.Summary.States, s.Healthy)
		}
	})
}

// A backend that this version cannot check is not healthy, since nothing is known.
func TestNext_UncheckedBackend(t *testing.T) {
	w := newWorld(2, ip4)
	for i := range w.peers {
		w.peers[i].BackendType = "next-year's"
	}
	w.own[0].BackendType = "next-year's"
	s, _ := Next(opts, nil, w.input())
	if s.Summary.States[verdict.Unknown] != 2 || s.Healthy {
		t.Errorf("states %v, healthy %v", s.Summary.States, s.Healthy)
	}
}

// The kernel cannot be read for a moment: the incident goes on after it.
func TestNext_IncidentSurvivesUnknown(t *testing.T) {
	w := newWorld(2, ip4)
	s, _ := Next(opts, nil, w.input())
	w.later(time.Hour).flap(ip4)
	s, _ = Next(opts, s, w.input())
	want := s.Incidents
	w.hints = nil
	in := w.later(time.Second).input()
	in.State.Complete = false
	s, _ = Next(opts, s, in)
	if s.Summary.States[verdict.Unknown] != 2 {
		t.Fatalf("states %v", s.Summary.States)
	}
	s, _ = Next(opts, s, w.later(time.Second).input())
	if diff := cmp.Diff(want, s.Incidents, alike...); diff != "" || s.Leases[0].Cause != verdict.CauseLinkDown {
		t.Errorf("cause %s, incidents (-want +got):\n%s", s.Leases[0].Cause, diff)
	}
}

// With several next hops the device of the first says nothing.
func TestNext_MultipathUnderlay(t *testing.T) {
	for name, tt := range map[string]struct {
		linkDown bool
		want     verdict.State
	}{"one hop without carrier": {false, verdict.OK}, "all hops": {true, verdict.UnderlayDown}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(1, ip4)
			w.link(ifVPN).LowerUp = false
			w.routes = append(w.routes, netstate.Route{
				Table: 254, Dst: netip.PrefixFrom(w.peers[0].PublicIP, 32), Type: netstate.Unicast, Device: ifVPN, Multipath: true, LinkDown: tt.linkDown,
			})
			s, _ := Next(opts, nil, w.input())
			if s.Leases[0].State != tt.want {
				t.Errorf("%s, want %s", s.Leases[0].State, tt.want)
			}
		})
	}
}

func TestNext_DirectRouting(t *testing.T) {
	direct := func(w *world) {
		for i := range w.routes {
			if w.routes[i].Device == ifVX4 {
				n := slicesIndexPeer(w, w.routes[i].Dst)
				w.routes[i].Device, w.routes[i].Gateway, w.routes[i].OnLink = ifEth, w.peers[n].PublicIP, false
			}
		}
		w.neighbors, w.fdb = nil, nil
	}
	off := false
	for name, tt := range map[string]struct {
		config expect.Config
		want   verdict.State
	}{
		"accepted while it is not known": {expect.Config{}, verdict.OK},
		"wrong when it is off":           {expect.Config{DirectRouting: &off}, verdict.WrongDevice},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(2, ip4)
			direct(w)
			o := opts
			o.Flannel = tt.config
			s, _ := Next(o, nil, w.input())
			if s.Summary.States[tt.want] != 2 {
				t.Errorf("states %v, want 2 %s", s.Summary.States, tt.want)
			}
		})
	}
	t.Run("survives the loss of the flannel device", func(t *testing.T) {
		w := newWorld(2, ip4)
		direct(w)
		w.link(ifVX4).Up = false
		s, _ := Next(opts, nil, w.input())
		if s.Summary.States[verdict.OK] != 2 {
			t.Errorf("states %v", s.Summary.States)
		}
	})
}

func slicesIndexPeer(w *world, subnet netip.Prefix) int {
	for i, l := range w.peers {
		if l.Subnet == subnet {
			return i
		}
	}
	return -1
}

func TestNext_NodeProblems(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*world)
		want  verdict.NodeProblem
		well  bool
	}{
		{"own MAC changed", func(w *world) { w.link(ifVX4).MAC = mac(ip4, 700) }, verdict.DeviceMAC, false},
		{"other tunnel address", func(w *world) { w.link(ifVX4).VXLAN.Local = netip.MustParseAddr("192.168.1.99") }, verdict.DeviceLocal, false},
		{"MTU too large", func(w *world) { w.link(ifVX4).MTU = 1500 }, verdict.DeviceMTU, true},
		{"other address", func(w *world) {
			for i := range w.addrs {
				if w.addrs[i].Device == ifVX4 {
					w.addrs[i].Prefix = netip.MustParsePrefix("10.100.99.0/32")
				}
			}
		}, verdict.DeviceAddress, false},
		{"stale route for the own subnet", func(w *world) {
			stale := netstate.Route{Table: 254, Dst: w.own[0].Subnet, Type: netstate.Unicast, Device: ifVX4, Gateway: w.own[0].Subnet.Addr()}
			w.routes = append([]netstate.Route{stale}, w.routes...) // before cni0's, as it was there first
		}, verdict.OwnSubnetShadowed, false},
		{"stale route for a part of the own subnet", func(w *world) {
			w.routes = append(w.routes, netstate.Route{
				Table: 254, Dst: netip.MustParsePrefix("10.100.10.128/25"), Type: netstate.Unicast, Device: ifVX4, Gateway: netip.MustParseAddr("10.100.10.128"),
			})
		}, verdict.OwnSubnetShadowed, false},
		{"a route for the own subnet that loses", func(w *world) {
			r := route(w.own[0].Subnet.String(), "192.168.1.77", ifEth, 254)
			r.Priority = 5000
			w.routes = append(w.routes, r)
		}, "", true},
		{"a policy rule for the own pods", func(w *world) {
			w.rules = append(w.rules, netstate.Rule{Family: ip4, Priority: 5270, Dst: w.own[0].Subnet, Table: 52, Action: 1})
			w.routes = append(w.routes, route("10.0.0.0/8", "192.168.1.1", ifEth, 52))
		}, verdict.OwnSubnetShadowed, false},
		{"blackhole for the own subnet is flannel's", func(w *world) {
			w.routes = append(w.routes, netstate.Route{Table: 254, Dst: w.own[0].Subnet, Type: netstate.Blackhole})
		}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(2, ip4)
			tt.spoil(w)
			s, _ := Next(opts, nil, w.input())
			var got []verdict.NodeProblem
			for _, p := range s.NodeProblems {
				got = append(got, p.Problem)
			}
			var want []verdict.NodeProblem
			if tt.want != "" {
				want = append(want, tt.want)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if s.Healthy != tt.well || len(bad(s)) != 0 {
				t.Errorf("healthy %v, want %v; bad %v", s.Healthy, tt.well, bad(s))
			}
		})
	}
}

func TestNext_Forwarding(t *testing.T) {
	for name, tt := range map[string]struct {
		conf netstate.NetConf
		want verdict.NodeProblem
	}{
		"off":       {netstate.NetConf{Family: ip4, Device: ifCNI}, verdict.ForwardingOff},
		"rp_filter": {netstate.NetConf{Family: ip4, Device: ifCNI, Forwarding: true, RPFilter: 1}, verdict.RPFilter},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(2, ip4)
			w.netconf = []netstate.NetConf{tt.conf}
			in := w.input()
			q := netstate.Query{Dst: expect.PodAddress(w.peers[0].Subnet), Src: expect.PodAddress(w.own[0].Subnet), IIF: ifCNI}
			in.State.Lookups = append(in.State.Lookups, &netstate.Lookup{Query: q, Errno: netstate.ErrnoUnreachable})
			in.State.Sort()
			s, _ := Next(opts, nil, in)
			if len(s.NodeProblems) != 1 || s.NodeProblems[0].Problem != tt.want || s.Healthy {
				t.Errorf("node problems %+v, healthy %v", s.NodeProblems, s.Healthy)
			}
		})
	}
}

// Without its own lease a node is never healthy.
func TestNext_OwnLease(t *testing.T) {
	for name, spoil := range map[string]func(*lease.Set){
		"unknown":   func(s *lease.Set) { s.Own = nil },
		"malformed": func(s *lease.Set) { s.Own[0].Malformed = "public-ip is \"x\"" },
	} {
		t.Run(name, func(t *testing.T) {
			in := newWorld(2, ip4).input()
			spoil(in.Set)
			s, _ := Next(opts, nil, in)
			if s.Healthy || !s.Complete || s.NodeJudged {
				t.Errorf("healthy %v, complete %v, node judged %v", s.Healthy, s.Complete, s.NodeJudged)
			}
		})
	}
}

// IPv6 does not say in a lookup whether it forwards: the setting of all devices decides.
func TestNext_ForwardingIPv6(t *testing.T) {
	for name, tt := range map[string]struct {
		all, cni netstate.NetConf
		pods     bool // cni0 is there: the kernel was asked for a pod
		want     int
	}{
		"on":               {all: netstate.NetConf{Forwarding: true}, pods: true},
		"off":              {cni: netstate.NetConf{Forwarding: true}, pods: true, want: 1},
		"off without pods": {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(2, ip6)
			tt.all.Family, tt.all.Device = ip6, netstate.NetConfAll
			tt.cni.Family, tt.cni.Device = ip6, ifCNI
			w.netconf = []netstate.NetConf{tt.all, tt.cni}
			in := w.input()
			if tt.pods {
				q := netstate.Query{Dst: expect.PodAddress(w.peers[0].Subnet), Src: expect.PodAddress(w.own[0].Subnet), IIF: ifCNI}
				in.State.Lookups = append(in.State.Lookups, &netstate.Lookup{Query: q, Route: *in.State.RoutesTo(w.peers[0].Subnet)[0]})
				in.State.Sort()
			}
			s, _ := Next(opts, nil, in)
			if len(s.NodeProblems) != tt.want || s.Healthy != (tt.want == 0) {
				t.Errorf("node problems %+v, healthy %v; want %d", s.NodeProblems, s.Healthy, tt.want)
			}
			for _, p := range s.NodeProblems {
				if p.Problem != verdict.ForwardingOff || p.Advice[0].Command != "sysctl -w net.ipv6.conf.all.forwarding=1" {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// A side that nobody hears of any more says nothing about now.
func TestNext_Silence(t *testing.T) {
	o := opts
	o.MaxSilence = 5 * time.Minute
	w := newWorld(2, ip4)
	in := w.input()
	s, wake := Next(o, nil, in)
	if !s.Healthy || !wake.Equal(t0.Add(o.MaxSilence)) {
		t.Fatalf("healthy %v, wake %s", s.Healthy, wake)
	}
	leases, state := in, in
	fresh := *in.State
	fresh.At = wake
	leases.State, leases.Now = &fresh, wake
	if s, _ := Next(o, s, leases); s.Healthy || s.Complete || s.Sources[0].Complete || s.Summary.States[verdict.OK] != 2 {
		t.Errorf("silent leases: healthy %v, complete %v, states %v", s.Healthy, s.Complete, s.Summary.States)
	}
	set := *in.Set
	set.Synced = wake
	state.Set, state.Now = &set, wake
	if s, _ := Next(o, s, state); s.Healthy || s.Complete || s.Sources[1].Complete || s.Summary.States[verdict.Unknown] != 2 {
		t.Errorf("silent kernel: healthy %v, complete %v, states %v", s.Healthy, s.Complete, s.Summary.States)
	}
	// The next picture says what differs from the one before it, which was silent.
	silent, _ := Next(o, s, state)
	again := state
	again.State, again.Touched, again.Now = &fresh, []netip.Prefix{}, wake.Add(time.Second)
	if s, _ := Next(o, silent, again); !s.Healthy {
		t.Errorf("the kernel is heard again: healthy %v, states %v", s.Healthy, s.Summary.States)
	}
}

// A node on which flannel never ran, or does not run yet, is unknown and not
// broken; once flannel starts there it gets the grace to program its peers.
func TestNext_FlannelNotYet(t *testing.T) {
	w := newWorld(2, ip4)
	whole := newWorld(2, ip4)
	w.flap(ip4)
	w.hints = nil
	w.links = remove(w.links, func(l netstate.Link) bool { return l.Index == ifVX4 })
	w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == ifVX4 })
	in := w.input()
	in.Set.Own = nil
	s, _ := Next(opts, nil, in)
	if s.Healthy || s.OwnLeaseKnown || s.Summary.States[verdict.Unknown] != 2 {
		t.Fatalf("before flannel: healthy %v, states %v", s.Healthy, s.Summary.States)
	}
	s, _ = Next(opts, s, w.later(time.Hour).input())
	if s.Summary.States[verdict.Pending] != 2 {
		t.Errorf("flannel has started: states %v, want 2 pending", s.Summary.States)
	}
	s, _ = Next(opts, s, w.later(time.Minute).input())
	if s.Summary.States[verdict.LinkDown] != 2 {
		t.Errorf("after the grace: states %v, want 2 link_down", s.Summary.States)
	}
	whole.at = w.later(time.Second).at
	if s, _ = Next(opts, s, whole.input()); !s.Healthy {
		t.Errorf("at last: %v", bad(s))
	}
}

// A node that joins has old peers, and no routes yet.
func TestNext_YoungNode(t *testing.T) {
	w := newWorld(2, ip4)
	w.flap(ip4)
	w.hints = nil
	w.own[0].Created = t0.Add(-10 * time.Second)
	for i := range w.peers {
		w.peers[i].Created = t0.Add(-1000 * time.Hour)
	}
	s, wake := Next(opts, nil, w.input())
	if s.Summary.States[verdict.Pending] != 2 || !wake.Equal(t0.Add(50*time.Second)) {
		t.Errorf("states %v, wake %s", s.Summary.States, wake)
	}
}

// What was broken when it was first seen was so before: an event of just then
// may be anything.
func TestNext_CauseAtTheStart(t *testing.T) {
	hint := netstate.Hint{At: t0, Kind: netstate.AddrAdded, Device: "ens33", Index: ifEth, Family: ip4, Prefix: netip.MustParsePrefix("192.168.1.10/16")}
	w := newWorld(2, ip4)
	w.routes = append(w.routes, netstate.Route{Table: 254, Dst: netip.PrefixFrom(w.peers[0].PublicIP, 32), Type: netstate.Blackhole})
	in := w.input()
	unread := Input{Set: in.Set, State: &netstate.State{Complete: true}, Now: w.at}
	before, _ := Next(opts, nil, unread)
	w.hints = []netstate.Hint{hint}
	for name, prev := range map[string]*wire.Snapshot{"at once": nil, "after a picture for no lease": before} {
		s, _ := Next(opts, prev, w.input())
		if l := worst(t, s); l.State != verdict.UnderlayDown || l.Cause != verdict.CauseUnknown {
			t.Errorf("%s: %s, %s; want underlay_down, unknown", name, l.State, l.Cause)
		}
	}
}
