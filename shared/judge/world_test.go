package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// world is a node and its peers by the facts of flannel's vxlan backend,
// written down here once more so that judge is not tested against expect. Its
// lookups are a plain longest-prefix match over rules and tables: enough to
// test the judgment; that the kernel answers like this is shown elsewhere, on
// a real kernel.
type world struct {
	backend    string // "" is vxlan
	families   []netstate.Family
	own        []lease.Lease
	peers      []lease.Lease
	links      []netstate.Link
	addrs      []netstate.Addr
	rules      []netstate.Rule
	routes     []netstate.Route
	neighbors  []netstate.Neighbor
	fdb        []netstate.FDBEntry
	wireguard  []netstate.WireGuard
	netconf    []netstate.NetConf
	hints      []netstate.Hint
	generation uint64
	at         time.Time
	// pods: there are pods here, whose packets are asked for; forwards: and they are forwarded.
	pods, forwards bool
}

const (
	ifEth  = 2
	ifVX4  = 3
	ifVX6  = 4
	ifCNI  = 5
	ifVPN  = 6
	selfIP = "192.168.1.10"
)

var t0 = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

func mac(family netstate.Family, n int) netstate.MAC {
	return netstate.MAC{2, byte(family), 0, 0, byte(n >> 8), byte(n)}
}

func subnetOf(family netstate.Family, n int) netip.Prefix {
	if family == netstate.IPv6 {
		return netip.MustParsePrefix(fmt.Sprintf("fd00:10:%x::/64", n))
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + n>>8), byte(n), 0}), 24)
}

func publicOf(family netstate.Family, n int) netip.Addr {
	if family == netstate.IPv6 {
		return netip.MustParseAddr(fmt.Sprintf("fd00:192::%x", n))
	}
	return netip.AddrFrom4([4]byte{192, 168, byte(1 + n>>8), byte(n)})
}

func leaseOf(family netstate.Family, n int) lease.Lease {
	return lease.Lease{
		Peer: fmt.Sprintf("node-%04d", n), Family: family, Subnet: subnetOf(family, n),
		PublicIP: publicOf(family, n), BackendType: "vxlan", VNI: 1, MAC: mac(family, n),
	}
}

// newWorld is a healthy node, number 10, with so many peers.
func newWorld(peers int, families ...netstate.Family) *world {
	w := &world{families: families, generation: 1, at: t0}
	w.links = []netstate.Link{
		{Index: 1, Name: "lo", Up: true, LowerUp: true, MTU: 65536},
		{Index: ifEth, Name: "ens33", Up: true, LowerUp: true, MTU: 1500},
		{Index: ifCNI, Name: "cni0", Kind: "bridge", Up: true, LowerUp: true, MTU: 1450},
		{Index: ifVPN, Name: "tun0", Up: true, LowerUp: true, MTU: 1400},
	}
	for _, f := range families {
		def := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		gw := netip.MustParseAddr("192.168.1.1")
		vx, name := ifVX4, "flannel.1"
		if f == netstate.IPv6 {
			def, gw, vx, name = netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.MustParseAddr("fd00:192::1"), ifVX6, "flannel-v6.1"
		}
		own := leaseOf(f, 10)
		own.Peer = "self"
		w.own = append(w.own, own)
		w.links = append(w.links, netstate.Link{
			Index: vx, Name: name, Kind: "vxlan", Up: true, LowerUp: true, MTU: 1450, Lower: ifEth, MAC: own.MAC,
			VXLAN: netstate.VXLAN{VNI: 1, Port: 8472, Local: own.PublicIP},
		})
		w.addrs = append(w.addrs,
			netstate.Addr{Device: vx, Prefix: netip.PrefixFrom(own.Subnet.Addr(), f.Bits())},
			netstate.Addr{Device: ifCNI, Prefix: netip.PrefixFrom(own.Subnet.Addr().Next(), own.Subnet.Bits())},
			netstate.Addr{Device: ifEth, Prefix: netip.PrefixFrom(own.PublicIP, 16)})
		w.routes = append(w.routes,
			netstate.Route{Table: 254, Dst: def, Type: netstate.Unicast, Device: ifEth, Gateway: gw},
			netstate.Route{Table: 254, Dst: netip.PrefixFrom(own.PublicIP, 16).Masked(), Type: netstate.Unicast, Device: ifEth},
			netstate.Route{Table: 254, Dst: own.Subnet, Type: netstate.Unicast, Device: ifCNI},
			netstate.Route{Table: 255, Dst: netip.PrefixFrom(own.PublicIP, f.Bits()), Type: netstate.Local, Device: ifEth})
		w.rules = append(w.rules,
			netstate.Rule{Family: f, Priority: 0, Table: 255, Action: 1},
			netstate.Rule{Family: f, Priority: 32766, Table: 254, Action: 1})
		for n := range peers {
			w.join(leaseOf(f, 20+n))
		}
	}
	return w
}

func vxlanOf(f netstate.Family) int {
	if f == netstate.IPv6 {
		return ifVX6
	}
	return ifVX4
}

// join adds a peer and programs it as flannel does.
func (w *world) join(l lease.Lease) {
	w.peers = append(w.peers, l)
	dev := vxlanOf(l.Family)
	var metric uint32
	if l.Family == netstate.IPv6 {
		metric = 1024
	}
	w.routes = append(w.routes, netstate.Route{
		Table: 254, Dst: l.Subnet, Type: netstate.Unicast, Priority: metric, Protocol: 3,
		Device: dev, Gateway: l.Subnet.Addr(), OnLink: true,
	})
	w.neighbors = append(w.neighbors, netstate.Neighbor{Device: dev, IP: l.Subnet.Addr(), MAC: l.MAC, State: netstate.NUDPermanent})
	w.fdb = append(w.fdb, netstate.FDBEntry{Device: dev, MAC: l.MAC, Dst: l.PublicIP, State: netstate.NUDPermanent})
}

func (w *world) set() *lease.Set {
	s := &lease.Set{
		Source: "file", Self: "self", Own: slices.Clone(w.own), Families: w.families, Leases: slices.Clone(w.peers),
		Complete: true, Synced: w.at, Generation: w.generation,
	}
	slices.SortFunc(s.Leases, compareLease)
	lease.MarkConflicts(s)
	return s
}

func compareLease(a, b lease.Lease) int {
	switch {
	case a.Peer != b.Peer && a.Peer < b.Peer:
		return -1
	case a.Peer != b.Peer:
		return 1
	case a.Family != b.Family:
		return int(a.Family) - int(b.Family)
	}
	return a.Subnet.Compare(b.Subnet)
}

// state is what the kernel layer would deliver for the world's leases.
func (w *world) state() *netstate.State {
	set := w.set()
	s := &netstate.State{
		At: w.at, Generation: w.generation, Complete: true,
		Links: slices.Clone(w.links), Addrs: slices.Clone(w.addrs), Rules: slices.Clone(w.rules), Routes: netstate.Refs(slices.Clone(w.routes)),
		Neighbors: slices.Clone(w.neighbors), FDB: slices.Clone(w.fdb), NetConf: slices.Clone(w.netconf), Hints: slices.Clone(w.hints),
		WireGuard: slices.Clone(w.wireguard),
	}
	s.Sort()
	seen := map[netstate.Query]bool{}
	ask := func(q netstate.Query) {
		if !seen[q] {
			seen[q] = true
			l := w.lookup(s, q)
			s.Lookups = append(s.Lookups, &l)
		}
	}
	in := expect.InterestOf(expect.Config{}, set)
	for _, subnet := range in.Peers {
		dsts := []netip.Addr{expect.PodAddress(subnet)}
		for _, r := range s.RoutesInside(subnet) {
			dsts = append(dsts, r.Dst.Addr())
		}
		for _, dst := range dsts {
			ask(netstate.Query{Dst: dst})
			for _, src := range in.Sources {
				if netstate.FamilyOf(src) == netstate.FamilyOf(dst) {
					ask(netstate.Query{Dst: dst, Src: src})
				}
			}
		}
	}
	for _, ip := range in.PublicIPs {
		ask(netstate.Query{Dst: ip})
	}
	for _, own := range set.Own {
		ask(netstate.Query{Dst: expect.PodAddress(own.Subnet)})
	}
	if w.pods {
		w.askForPods(s, in)
	}
	s.Sort()
	return s
}

// askForPods adds what the kernel says of packets that come in from pods, and the settings that make it say so.
func (w *world) askForPods(s *netstate.State, in expect.Interest) {
	for _, own := range w.own {
		s.NetConf = append(s.NetConf,
			netstate.NetConf{Family: own.Family, Device: netstate.NetConfAll, Forwarding: w.forwards},
			netstate.NetConf{Family: own.Family, Device: ifCNI, Forwarding: w.forwards})
		for _, subnet := range in.Peers {
			if netstate.FamilyOf(subnet.Addr()) != own.Family {
				continue
			}
			l := w.lookup(s, netstate.Query{Dst: expect.PodAddress(subnet)})
			l.Query.Src, l.Query.IIF = expect.PodAddress(own.Subnet), ifCNI
			if !w.forwards {
				l = netstate.Lookup{Query: l.Query, Errno: netstate.ErrnoUnreachable}
			}
			s.Lookups = append(s.Lookups, &l)
		}
	}
}

// lookup walks the rules in order; within a table the longest prefix wins, then the lowest metric.
func (w *world) lookup(s *netstate.State, q netstate.Query) netstate.Lookup {
	if q.Src.IsValid() && !slices.ContainsFunc(s.Addrs, func(a netstate.Addr) bool { return a.Prefix.Addr() == q.Src }) {
		return netstate.Lookup{Query: q, Errno: netstate.ErrnoBlackhole}
	}
	for _, rule := range s.Rules {
		if rule.Family != netstate.FamilyOf(q.Dst) ||
			rule.Src.IsValid() && !(q.Src.IsValid() && rule.Src.Contains(q.Src)) ||
			rule.Dst.IsValid() && !rule.Dst.Contains(q.Dst) {
			continue
		}
		switch rule.Action {
		case 7:
			return netstate.Lookup{Query: q, Errno: netstate.ErrnoUnreachable}
		case 6:
			return netstate.Lookup{Query: q, Errno: netstate.ErrnoBlackhole}
		}
		best := netstate.Route{}
		for _, r := range s.Routes {
			if r.Table != rule.Table || !r.Dst.Contains(q.Dst) {
				continue
			}
			if best.Type == 0 || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Priority < best.Priority {
				best = *r
			}
		}
		switch best.Type {
		case 0:
		case netstate.Blackhole:
			return netstate.Lookup{Query: q, Errno: netstate.ErrnoBlackhole}
		case netstate.Unreachable:
			return netstate.Lookup{Query: q, Errno: netstate.ErrnoUnreachable}
		default:
			return netstate.Lookup{Query: q, Route: best}
		}
	}
	return netstate.Lookup{Query: q, Errno: netstate.ErrnoNoRoute}
}

// later lets time pass.
func (w *world) later(d time.Duration) *world {
	w.at = w.at.Add(d)
	return w
}

func (w *world) input() Input { return Input{Set: w.set(), State: w.state(), Now: w.at} }

func (w *world) link(index int) *netstate.Link {
	i := slices.IndexFunc(w.links, func(l netstate.Link) bool { return l.Index == index })
	return &w.links[i]
}

// route is the first one for a destination.
func (w *world) route(dst netip.Prefix) *netstate.Route {
	i := slices.IndexFunc(w.routes, func(r netstate.Route) bool { return r.Dst == dst })
	return &w.routes[i]
}

// unplug deletes a device and all that hangs on it.
func (w *world) unplug(device int) {
	w.links = remove(w.links, func(l netstate.Link) bool { return l.Index == device })
	w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == device })
	w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Device == device })
}

func remove[T any](s []T, match func(T) bool) []T { return slices.DeleteFunc(s, match) }

// flap sets a device down and up again, as the kernel does it: routes and
// neighbors are gone, FDB entries stay, an IPv6 device loses its address.
func (w *world) flap(f netstate.Family) {
	dev := vxlanOf(f)
	name := w.link(dev).Name
	w.routes = remove(w.routes, func(r netstate.Route) bool { return r.Device == dev })
	w.neighbors = remove(w.neighbors, func(n netstate.Neighbor) bool { return n.Device == dev })
	if f == netstate.IPv6 {
		w.addrs = remove(w.addrs, func(a netstate.Addr) bool { return a.Device == dev })
	}
	w.hints = append(w.hints,
		netstate.Hint{At: w.at, Kind: netstate.LinkChanged, Device: name, Index: dev},
		netstate.Hint{At: w.at, Kind: netstate.LinkChanged, Device: name, Index: dev, Up: true})
}
