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
// endpoint and for the node's own pods a plain one.
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
	for _, p := range i.own {
		all = append(all, netstate.Query{Dst: expect.PodAddress(p)})
	}
	for _, p := range i.inputs {
		if src, device, ok := i.podSource(s, netstate.FamilyOf(p.Addr())); ok {
			all = append(all, netstate.Query{Dst: expect.PodAddress(p), Src: src, IIF: device})
		}
	}
	slices.SortFunc(all, netstate.Query.Compare)
	return slices.Compact(all)
}
