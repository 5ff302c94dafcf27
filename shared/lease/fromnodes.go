package lease

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"routewatch/shared/netstate"
)

// FromNodes turns Nodes into a Set. Every Node is accounted for: its leases
// are in Own or Leases, or it is in Skipped. A node has at most one lease of a
// family. The result does not depend on the order of the nodes. Conflicts are
// marked.
//
// Complete is true; Source, Synced, Written and Generation are the caller's to set.
func FromNodes(nodes []Node, opts Options) Set {
	r := nodeReader{prefix: opts.Prefix}
	set := Set{Self: opts.Self, Complete: true}
	byName := make(map[string][]*Node, len(nodes))
	for i := range nodes {
		name := nodes[i].Metadata.Name
		byName[name] = append(byName[name], &nodes[i])
	}
	r.families = sortedFamilies(opts.Families)
	if len(r.families) == 0 {
		r.families = r.served(byName[opts.Self])
	}
	set.Families = slices.Clone(r.families)
	if len(set.Families) == 0 { // a guess, good enough to list the peers
		for i := range nodes {
			set.Families = append(set.Families, r.announced(&nodes[i])...)
		}
		set.Families = sortedFamilies(set.Families)
	}

	for _, name := range slices.Sorted(maps.Keys(byName)) {
		leases, skipped := r.sameName(name, byName[name])
		set.Skipped = append(set.Skipped, skipped...)
		if name == opts.Self {
			set.Own = leases
		} else {
			set.Leases = append(set.Leases, leases...)
		}
	}
	set.sort()
	MarkConflicts(&set)
	return set
}

func sortedFamilies(families []netstate.Family) []netstate.Family {
	return slices.Compact(slices.Sorted(slices.Values(families)))
}

// sort puts every slice into its documented order.
func (s *Set) sort() {
	slices.SortFunc(s.Own, compareLeases)
	slices.SortFunc(s.Leases, compareLeases)
	slices.SortFunc(s.Skipped, func(a, b Skipped) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Reason, b.Reason))
	})
}

func compareLeases(a, b Lease) int {
	return cmp.Or(
		cmp.Compare(a.Peer, b.Peer),
		cmp.Compare(a.Family, b.Family),
		a.Subnet.Addr().Compare(b.Subnet.Addr()),
		cmp.Compare(a.Subnet.Bits(), b.Subnet.Bits()),
	)
}

// sameName reads the Nodes that share a name. An API server has one of each
// name; of several, as in lists of two clusters put together, nobody can say
// which one counts.
func (r nodeReader) sameName(name string, nodes []*Node) ([]Lease, []Skipped) {
	if name == "" {
		return nil, slices.Repeat([]Skipped{{Reason: "the Node has no metadata.name"}}, len(nodes))
	}
	if len(nodes) == 1 {
		return r.node(nodes[0])
	}
	reason := fmt.Sprintf("%d Nodes have the name %s, and which one counts cannot be said: keep one of them", len(nodes), name)
	subnets := make(map[netstate.Family][]netip.Prefix)
	for _, n := range nodes {
		leases, _ := r.node(n)
		for _, l := range leases {
			subnets[l.Family] = append(subnets[l.Family], l.Subnet)
		}
	}
	if len(subnets) == 0 {
		return nil, []Skipped{{Node: name, Reason: reason}}
	}
	var leases []Lease
	for family, of := range subnets {
		l := Lease{Peer: name, Family: family, Malformed: reason}
		if of = slices.Compact(of); len(of) == 1 {
			l.Subnet = of[0]
		}
		leases = append(leases, l)
	}
	return leases, nil
}
