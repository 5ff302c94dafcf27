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
	for _, p := range i.Peers {
		all = i.appendPeer(all, s, p)
	}
	for _, p := range i.publicIPs {
		all = append(all, netstate.Query{Dst: p})
	}
	for _, p := range i.own {
		all = append(all, netstate.Query{Dst: expect.PodAddress(p)})
	}
	all = i.appendInputs(all, s, func(netip.Prefix) bool { return true })
	slices.SortFunc(all, netstate.Query.Compare)
	return slices.Compact(all)
}

func (i *interest) appendPeer(all []netstate.Query, s *netstate.State, peer netip.Prefix) []netstate.Query {
	src, known := i.source(netstate.FamilyOf(peer.Addr()))
	both := func(dst netip.Addr) {
		all = append(all, netstate.Query{Dst: dst})
		if known {
			all = append(all, netstate.Query{Dst: dst, Src: src})
		}
	}
	both(expect.PodAddress(peer))
	for _, r := range s.RoutesInside(peer) {
		both(r.Dst.Addr())
	}
	return all
}

// appendInputs adds the lookups of packets that pods send, to those peers that
// wanted accepts.
func (i *interest) appendInputs(all []netstate.Query, s *netstate.State, wanted func(peer netip.Prefix) bool) []netstate.Query {
	for _, p := range i.inputs {
		if !wanted(p) {
			continue
		}
		if src, device, ok := i.podSource(s, netstate.FamilyOf(p.Addr())); ok {
			all = append(all, netstate.Query{Dst: expect.PodAddress(p), Src: src, IIF: device})
		}
	}
	return all
}
