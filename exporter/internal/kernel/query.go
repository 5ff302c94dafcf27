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
	peers := make([]netstate.Query, 0, 2*len(i.peerList.sorted))
	for _, p := range i.peerList.sorted {
		peers = i.appendPeer(peers, s, p)
	}
	if !slices.IsSortedFunc(peers, netstate.Query.Compare) { // with subnets that hold one another
		slices.SortFunc(peers, netstate.Query.Compare)
	}
	public := make([]netstate.Query, 0, len(i.publicIPs))
	for _, p := range i.publicIPs {
		public = append(public, netstate.Query{Dst: p})
	}
	var few []netstate.Query
	for _, p := range i.own {
		few = append(few, netstate.Query{Dst: expect.PodAddress(p)})
	}
	few = i.appendInputs(few, s, func(netip.Prefix) bool { return true })
	slices.SortFunc(few, netstate.Query.Compare)
	return slices.Compact(merged(merged(peers, public, netstate.Query.Compare), few, netstate.Query.Compare))
}

// merged makes one sorted list of two.
func merged[T any](a, b []T, compare func(a, b T) int) []T {
	all := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compare(a[0], b[0]) <= 0 {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
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
