package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

const (
	ifTunnel  = 7
	ifTunnel6 = 8
)

// allPods is the pod network of world's leases.
var allPods = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00:10::/32")}

func keyOf(n int) string { return fmt.Sprintf("%043d=", n) }

// newWorldOf is a healthy node of another backend than vxlan with two peers, as
// the backend programs it: by the facts of flannel's sources, without expect.
func newWorldOf(backend string, families ...netstate.Family) (*world, Options) {
	w := newWorld(2, families...)
	w.backend = backend
	w.links = remove(w.links, func(l netstate.Link) bool { return l.Kind == "vxlan" })
	isVX := func(device int) bool { return device == ifVX4 || device == ifVX6 }
	w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return isVX(a.Device) })
	w.routes = remove(w.routes, func(r netstate.Route) bool { return isVX(r.Device) })
	w.neighbors, w.fdb = nil, nil
	for i := range w.own {
		w.asBackend(&w.own[i].BackendType, &w.own[i].MAC, &w.own[i].VNI)
	}
	for i := range w.peers {
		l := &w.peers[i]
		w.asBackend(&l.BackendType, &l.MAC, &l.VNI)
		if backend == "wireguard" {
			l.PublicKey, l.Port = keyOf(i%2), 51820
		}
	}
	for _, f := range families {
		w.program(f)
	}
	opts := opts
	opts.Flannel = expect.Config{Backend: backend, Network: allPods, Families: families}
	return w, opts
}

func (w *world) asBackend(name *string, mac *netstate.MAC, vni *uint32) {
	*name, *mac, *vni = w.backend, netstate.MAC{}, 0
	if w.backend == "udp" {
		*name = ""
	}
}

// program adds the device, if the backend has one, and the routes.
func (w *world) program(f netstate.Family) {
	index, name, kind := ifTunnel, map[string]string{"ipip": "flannel.ipip", "udp": "flannel0", "wireguard": "flannel-wg"}[w.backend], w.backend
	network := allPods[0]
	if f == netstate.IPv6 {
		index, name, network = ifTunnel6, name+"-v6", allPods[1]
	}
	if w.backend == "udp" {
		kind = "tun"
	}
	if w.backend != "host-gw" {
		w.links = append(w.links, netstate.Link{Index: index, Name: name, Kind: kind, Up: true, LowerUp: true, MTU: 1400})
		w.addrs = append(w.addrs, netstate.Addr{Device: index, Prefix: netip.PrefixFrom(subnetOf(f, 10).Addr(), f.Bits())})
	}
	wg := netstate.WireGuard{Device: index}
	for _, l := range w.peers {
		if l.Family != f {
			continue
		}
		r := netstate.Route{Table: 254, Dst: l.Subnet, Type: netstate.Unicast, Protocol: 3, Gateway: l.PublicIP, Device: ifEth}
		switch w.backend {
		case "host-gw":
			w.routes = append(w.routes, r)
		case "ipip":
			r.Device, r.OnLink = index, true
			w.routes = append(w.routes, r)
		}
		wg.Peers = append(wg.Peers, netstate.WireGuardPeer{
			PublicKey: l.PublicKey, Endpoint: netip.AddrPortFrom(l.PublicIP, l.Port), AllowedIPs: []netip.Prefix{l.Subnet},
		})
	}
	switch w.backend {
	case "wireguard":
		w.wireguard = append(w.wireguard, wg)
		fallthrough
	case "udp":
		w.routes = append(w.routes, netstate.Route{Table: 254, Dst: network, Type: netstate.Unicast, Protocol: 3, Device: index})
	}
}

// worst is the first problem of a snapshot.
func worst(t *testing.T, s *wire.Snapshot) wire.Lease {
	t.Helper()
	problems, _ := s.Problems(1, func(s verdict.State) bool { return s != verdict.OK })
	if len(problems) == 0 {
		t.Fatal("every lease is ok")
	}
	return problems[0]
}

func commands(advice []wire.Advice) string {
	var s []string
	for _, a := range advice {
		s = append(s, a.Command)
	}
	return strings.Join(s, "\n")
}

// As the backend leaves the kernel behind, everything is well.
func TestBackends_Healthy(t *testing.T) {
	ip6 := netstate.IPv6
	for _, tt := range []struct {
		backend  string
		families []netstate.Family
		devices  int
	}{
		{"host-gw", []netstate.Family{ip4, ip6}, 0},
		{"host-gw", []netstate.Family{ip6}, 0},
		{"ipip", []netstate.Family{ip4}, 1},
		{"udp", []netstate.Family{ip4}, 1},
		{"wireguard", []netstate.Family{ip4, ip6}, 2},
		{"wireguard", []netstate.Family{ip6}, 1},
	} {
		for _, configured := range []bool{true, false} {
			w, opts := newWorldOf(tt.backend, tt.families...)
			if !configured {
				opts.Flannel.Network = nil
			}
			s, _ := Next(opts, nil, w.input())
			if !s.Healthy || s.Summary.States[verdict.OK] != 2*len(tt.families) || s.Summary.Missing != 0 || !s.NodeJudged {
				t.Errorf("%s %v: healthy %v, %v, worst %+v", tt.backend, tt.families, s.Healthy, s.Summary.States, s.Leases[0])
			}
			if len(s.Stale) != 0 || len(s.NodeProblems) != 0 {
				t.Errorf("%s: stale %+v, node problems %+v", tt.backend, s.Stale, s.NodeProblems)
			}
			up := slices.IndexFunc(s.Devices, func(d wire.Device) bool { return !d.Present || !d.Up }) < 0
			if len(s.Devices) != tt.devices || !up {
				t.Errorf("%s: devices %+v", tt.backend, s.Devices)
			}
			if l := s.Leases[0]; len(l.Checked) == 0 || len(l.Unchecked) == 0 {
				t.Errorf("%s: an ok lease says neither what it proves nor what it does not: %+v", tt.backend, l)
			}
		}
	}
}

// breakage is one fault of a backend's objects and what must come of it.
type breakage struct {
	name, backend string
	change        func(w *world)
	state         verdict.State
	effect        verdict.Effect
	leases        int    // how many are hit
	command       string // the first one of the advice
	reason        string // a part of it
}

func dropRoute(match func(netstate.Route) bool) func(*world) {
	return func(w *world) { w.routes = remove(w.routes, match) }
}

var breakages = []breakage{
	{
		name: "route gone", backend: "host-gw", change: dropRoute(func(r netstate.Route) bool { return r.Dst == subnetOf(ip4, 20) }),
		state: verdict.Missing, effect: verdict.Leaking, leases: 1, command: "ip route replace 10.100.20.0/24 via 192.168.1.20 dev ens33",
	},
	{
		name: "gateway changed", backend: "host-gw", change: func(w *world) { w.route(subnetOf(ip4, 20)).Gateway = publicOf(ip4, 21) },
		state: verdict.WrongGateway, effect: verdict.EffectDiverted, leases: 1, command: "ip route replace 10.100.20.0/24 via 192.168.1.20 dev ens33",
	},
	{
		name: "through a VPN", backend: "host-gw", change: func(w *world) { *w.route(subnetOf(ip4, 20)) = through(ifVPN, subnetOf(ip4, 20)) },
		state: verdict.WrongDevice, effect: verdict.EffectDiverted, leases: 1, command: "ip route replace 10.100.20.0/24 via 192.168.1.20 dev ens33",
	},
	{
		name: "carrier lost", backend: "host-gw", change: func(w *world) { w.link(ifEth).LowerUp = false },
		state: verdict.UnderlayDown, effect: verdict.Undeliverable, leases: 2, command: "ip route show table all to match 192.168.1.20", reason: "ens33",
	},
	{
		name: "peer behind a router", backend: "host-gw", change: func(w *world) {
			w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Dst == subnetOf(ip4, 20) })
			w.routes = append(w.routes, netstate.Route{
				Table: 254, Dst: netip.PrefixFrom(publicOf(ip4, 20), 32), Type: netstate.Unicast, Device: ifEth, Gateway: netip.MustParseAddr("192.168.1.1"),
			})
		},
		state: verdict.Missing, effect: verdict.Leaking, leases: 1, command: "ip route show table all to match 192.168.1.20", reason: "goes through 192.168.1.1",
	},
	{
		name: "route gone", backend: "ipip", change: dropRoute(func(r netstate.Route) bool { return r.Dst == subnetOf(ip4, 20) }),
		state: verdict.Missing, effect: verdict.Leaking, leases: 1, command: "ip route replace 10.100.20.0/24 via 192.168.1.20 dev flannel.ipip onlink",
	},
	{
		name: "device gone", backend: "ipip", change: func(w *world) { w.unplug(ifTunnel) },
		state: verdict.LinkDown, effect: verdict.Leaking, leases: 2, command: "kubectl", reason: "flannel.ipip is not there",
	},
	{
		name: "underlay gone", backend: "ipip", change: dropRoute(func(r netstate.Route) bool { return r.Device == ifEth }),
		state: verdict.UnderlayDown, effect: verdict.Undeliverable, leases: 2, command: "ip route show table all to match 192.168.1.20",
	},
	{
		name: "flannel gone, and its tun device with it", backend: "udp", change: func(w *world) { w.unplug(ifTunnel) },
		state: verdict.LinkDown, effect: verdict.Leaking, leases: 2, command: "kubectl", reason: "flannel0 is not there",
	},
	{
		name: "route gone", backend: "udp", change: dropRoute(func(r netstate.Route) bool { return r.Device == ifTunnel }),
		state: verdict.Missing, effect: verdict.Leaking, leases: 2, command: "ip route replace 10.0.0.0/8 dev flannel0",
	},
	{
		name: "a route for one subnet", backend: "udp", change: func(w *world) { w.routes = append(w.routes, through(ifVPN, subnetOf(ip4, 20))) },
		state: verdict.Shadowed, effect: verdict.EffectDiverted, leases: 1, command: "ip route del 10.100.20.0/24 dev tun0",
	},
	{
		name: "a route for half the network", backend: "udp", change: func(w *world) {
			w.routes = append(w.routes, through(ifVPN, netip.MustParsePrefix("10.64.0.0/10")))
		},
		state: verdict.Shadowed, effect: verdict.Leaking, leases: 2, command: "ip route del 10.64.0.0/10 dev tun0",
	},
	{
		name: "peer removed", backend: "wireguard", change: func(w *world) { w.wireguard[0].Peers = w.wireguard[0].Peers[1:] },
		state: verdict.PeerMissing, effect: verdict.Undeliverable, leases: 1, command: "kubectl", reason: "flannel-wg has no peer",
	},
	{
		name: "allowed IPs moved to another peer", backend: "wireguard", change: func(w *world) {
			p := w.wireguard[0].Peers
			p[0].AllowedIPs, p[1].AllowedIPs = nil, append(p[1].AllowedIPs, p[0].AllowedIPs...)
		},
		state: verdict.PeerWrong, effect: verdict.Undeliverable, leases: 1, command: "kubectl", reason: "allowed IPs",
	},
	{
		name: "narrower allowed IPs of another peer", backend: "wireguard", change: func(w *world) {
			p := w.wireguard[0].Peers
			p[1].AllowedIPs = append(p[1].AllowedIPs, netip.PrefixFrom(subnetOf(ip4, 20).Addr(), 25))
		},
		state: verdict.PeerWrong, effect: verdict.Undeliverable, leases: 1, command: "kubectl", reason: "narrower",
	},
	{
		name: "endpoint changed, and nobody answers there", backend: "wireguard", change: func(w *world) {
			w.wireguard[0].Peers[0].Endpoint = netip.MustParseAddrPort("203.0.113.9:51820")
			w.wireguard[0].Peers[0].LastHandshake = t0.Add(-time.Hour)
		},
		state: verdict.PeerWrong, effect: verdict.Undeliverable, leases: 1, command: "kubectl", reason: "203.0.113.9:51820",
	},
	{
		name: "peers cannot be read", backend: "wireguard", change: func(w *world) {
			w.wireguard[0] = netstate.WireGuard{Device: ifTunnel, Problem: "no_capability: give the exporter CAP_NET_ADMIN"}
		},
		state: verdict.Unknown, effect: verdict.EffectUnknown, leases: 2, reason: "no_capability",
	},
	{
		name: "peers not read", backend: "wireguard", change: func(w *world) { w.wireguard = nil },
		state: verdict.Unknown, effect: verdict.EffectUnknown, leases: 2, reason: "were not read",
	},
	{
		name: "route gone, peers not readable", backend: "wireguard", change: func(w *world) {
			w.wireguard = nil
			w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Device == ifTunnel })
		},
		state: verdict.Missing, effect: verdict.Leaking, leases: 2, command: "ip route replace 10.0.0.0/8 dev flannel-wg",
	},
}

func through(device int, dst netip.Prefix) netstate.Route {
	return netstate.Route{Table: 254, Dst: dst, Type: netstate.Unicast, Device: device}
}

func TestBackends_Broken(t *testing.T) {
	for _, tt := range breakages {
		t.Run(tt.backend+"/"+tt.name, func(t *testing.T) {
			w, opts := newWorldOf(tt.backend, ip4)
			s, _ := Next(opts, nil, w.input())
			if !s.Healthy {
				t.Fatalf("not healthy before: %+v", worst(t, s))
			}
			tt.change(w.later(time.Hour))
			s, _ = Next(opts, s, w.input())
			if n := s.Summary.States[tt.state]; n != tt.leases || s.Healthy {
				t.Errorf("%d leases %s, want %d; healthy %v; all: %v", n, tt.state, tt.leases, s.Healthy, s.Summary.States)
			}
			l := worst(t, s)
			if l.State != tt.state || l.Effect != tt.effect {
				t.Errorf("%s, %s; want %s, %s\n%+v", l.State, l.Effect, tt.state, tt.effect, l)
			}
			if !strings.HasPrefix(commands(l.Advice), tt.command) {
				t.Errorf("advice\n%s\nwant it to begin with %s", commands(l.Advice), tt.command)
			}
			if !strings.Contains(l.Reason, tt.reason) {
				t.Errorf("reason %q, want %q in it", l.Reason, tt.reason)
			}
			if strings.Contains(strings.Join(append(l.Expected, l.Actual...), " "), "invalid") {
				t.Errorf("expected %q, actual %q", l.Expected, l.Actual)
			}
		})
	}
}

// An endpoint follows a peer to where its packets come from: behind NAT it is
// another one than the lease's for good reason.
func TestWireGuard_Roamed(t *testing.T) {
	w, opts := newWorldOf("wireguard", ip4)
	w.wireguard[0].Peers[0].Endpoint = netip.MustParseAddrPort("203.0.113.9:4321")
	w.wireguard[0].Peers[0].LastHandshake = t0.Add(-time.Minute)
	if s, _ := Next(opts, nil, w.input()); !s.Healthy {
		t.Errorf("not healthy: %+v", worst(t, s))
	}
}

// With one device for both families (mode auto, ipv4 or ipv6) both subnets are
// allowed for one peer, and its endpoint is of either family.
func TestWireGuard_OneDevice(t *testing.T) {
	ip6 := netstate.IPv6
	for _, mode := range []string{"auto", "ipv4", "ipv6", ""} {
		w, opts := newWorldOf("wireguard", ip4, ip6)
		opts.Flannel.WireGuardMode = mode
		w.unplug(ifTunnel6)
		w.addrs = append(w.addrs, netstate.Addr{Device: ifTunnel, Prefix: netip.PrefixFrom(subnetOf(ip6, 10).Addr(), 128)})
		w.routes = append(w.routes, netstate.Route{Table: 254, Dst: allPods[1], Type: netstate.Unicast, Device: ifTunnel})
		for i, p := range w.wireguard[0].Peers {
			w.wireguard[0].Peers[i].AllowedIPs = append(p.AllowedIPs, w.wireguard[1].Peers[i].AllowedIPs...)
		}
		w.wireguard = w.wireguard[:1]
		if s, _ := Next(opts, nil, w.input()); !s.Healthy {
			t.Errorf("mode %q: not healthy: %+v", mode, worst(t, s))
		}
	}
}

// A route that flannel left behind among the node's own routes, and a peer on
// its device. Other programs' routes in the same place are no business of ours.
func TestBackends_Stale(t *testing.T) {
	w, opts := newWorldOf("host-gw", ip4)
	gone := netstate.Route{Table: 254, Dst: subnetOf(ip4, 99), Type: netstate.Unicast, Protocol: 3, Device: ifEth, Gateway: publicOf(ip4, 99)}
	bird, outside, network := gone, gone, gone
	bird.Protocol, outside.Dst, network.Dst = 12, netip.MustParsePrefix("172.16.9.0/24"), allPods[0]
	w.routes = append(w.routes, gone, bird, outside, network)
	s, _ := Next(opts, nil, w.input())
	if len(s.Stale) != 1 || s.Stale[0].Advice[0].Command != "ip route del 10.100.99.0/24 via 192.168.1.99 dev ens33" || !s.Healthy {
		t.Errorf("host-gw: healthy %v, stale %+v", s.Healthy, s.Stale)
	}
	w, opts = newWorldOf("wireguard", ip4)
	w.wireguard[0].Peers = append(w.wireguard[0].Peers, netstate.WireGuardPeer{
		PublicKey: keyOf(99), Endpoint: netip.MustParseAddrPort("192.168.1.99:51820"), AllowedIPs: []netip.Prefix{subnetOf(ip4, 99)},
	})
	s, _ = Next(opts, nil, w.input())
	if len(s.Stale) != 1 || s.Stale[0].Kind != wire.StalePeer || s.Summary.Families[0].Stale[wire.StalePeer] != 1 || !s.Healthy {
		t.Errorf("wireguard: healthy %v, stale %+v", s.Healthy, s.Stale)
	}
}

// A route that keeps the pod network from leaking while flannel is down is no fault.
func TestBackends_GuardRoute(t *testing.T) {
	for _, backend := range []string{"host-gw", "ipip", "udp", "wireguard"} {
		w, opts := newWorldOf(backend, ip4)
		w.routes = append(w.routes, netstate.Route{Table: 254, Dst: allPods[0], Type: netstate.Unreachable, Priority: 4000})
		if s, _ := Next(opts, nil, w.input()); !s.Healthy {
			t.Errorf("%s: not healthy: %+v", backend, worst(t, s))
		}
	}
}

// udp publishes no backend. Its device tells, and while that is not there
// nothing does: unknown, and neither healthy nor unsupported.
func TestBackends_UDPNotConfigured(t *testing.T) {
	w, opts := newWorldOf("udp", ip4)
	opts.Flannel = expect.Config{}
	s, _ := Next(opts, nil, w.input())
	if !s.Healthy || s.Backend != "udp" || s.Summary.States[verdict.OK] != 2 {
		t.Errorf("with flannel0: backend %q, healthy %v, %v", s.Backend, s.Healthy, s.Summary.States)
	}
	w.unplug(ifTunnel)
	if after, _ := Next(opts, s, w.input()); after.Summary.States[verdict.LinkDown] != 2 {
		t.Errorf("flannel0 gone: %v, %+v", after.Summary.States, after.Leases[0])
	}
	s, _ = Next(opts, nil, w.input())
	if s.Healthy || s.Summary.States[verdict.Unknown] != 2 || !strings.Contains(s.Leases[0].Reason, "--flannel.backend") {
		t.Errorf("without flannel0: healthy %v, %v, %+v", s.Healthy, s.Summary.States, s.Leases[0])
	}
}

// With the one route for the whole pod network gone, its event is the cause,
// whether net-conf names that network or not.
func TestBackends_WideRouteDeleted(t *testing.T) {
	for _, network := range [][]netip.Prefix{nil, {netip.MustParsePrefix("10.0.0.0/8")}} {
		w, opts := newWorldOf("udp", ip4)
		opts.Flannel.Network = network
		s, _ := Next(opts, nil, w.input())
		i := slices.IndexFunc(w.routes, func(r netstate.Route) bool { return r.Dst.Bits() == 8 })
		w.later(time.Hour).hints = []netstate.Hint{{
			At: w.at, Kind: netstate.RouteDeleted, Family: ip4, Prefix: w.routes[i].Dst, Table: 254, Device: "flannel0", PortID: 77,
		}}
		w.routes = slices.Delete(w.routes, i, i+1)
		s, _ = Next(opts, s, w.input())
		if l := worst(t, s); l.State != verdict.Missing || l.Cause != verdict.Deleted || l.Actor == nil || l.Actor.PortID != 77 {
			t.Errorf("network %v: %s, %s, %+v; want missing, deleted, by 77", network, l.State, l.Cause, l.Actor)
		}
	}
}
