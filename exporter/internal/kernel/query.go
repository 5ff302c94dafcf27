package kernel

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// queries returns every question that judging needs, sorted and unique: for
// each peer its pod address, and the first address of each route inside its
// subnet, plain and from the node's own flannel address; for each tunnel
// endpoint a plain one.
func (i *interest) queries(s *netstate.State) []netstate.Query {
	var all []netstate.Query
	both := func(dst netip.Addr) {
		all = append(all, netstate.Query{Dst: dst})
		if src, ok := i.source(netstate.FamilyOf(dst)); ok {
			all = append(all, netstate.Query{Dst: dst, Src: src})
		}
	}
	for _, p := range i.Peers {
		both(expect.PodAddress(p))
		for _, r := range s.RoutesInside(p) {
			both(r.Dst.Addr())
		}
	}
	for _, p := range i.publicIPs {
		all = append(all, netstate.Query{Dst: p})
	}
	for _, p := range i.inputs {
		if src, device, ok := i.podSource(s, netstate.FamilyOf(p.Addr())); ok {
			all = append(all, netstate.Query{Dst: expect.PodAddress(p), Src: src, IIF: device})
		}
	}
	slices.SortFunc(all, netstate.Query.Compare)
	return slices.Compact(all)
}

// podSource returns a pod's address of the node's own subnet and the bridge that
// its packets come in from: a device of Interest.Devices that is up and holds
// an address of that subnet. Without one there is no forwarded traffic to ask for.
func (i *interest) podSource(s *netstate.State, f netstate.Family) (netip.Addr, int, bool) {
	for _, subnet := range i.own {
		if netstate.FamilyOf(subnet.Addr()) != f {
			continue
		}
		for _, a := range s.Addrs {
			l, _ := s.Link(a.Device)
			// flannel's own device has an address of the subnet as well.
			if subnet.Contains(a.Prefix.Addr()) && l.Up && l.Kind != kindVXLAN && slices.Contains(i.Devices, l.Name) {
				return expect.PodAddress(subnet), l.Index, true
			}
		}
	}
	return netip.Addr{}, 0, false
}
