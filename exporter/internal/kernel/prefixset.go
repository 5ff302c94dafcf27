package kernel

import (
	"net/netip"
	"slices"
	"sort"
)

// prefixSet answers in O(log n) and without an allocation whether a prefix
// overlaps one of its members. Its members are sorted and disjoint.
type prefixSet []netip.Prefix

// newPrefixSet leaves out the members that lie inside another one: what
// overlaps the inner overlaps the outer.
func newPrefixSet(prefixes []netip.Prefix) prefixSet {
	sorted := slices.Clone(prefixes)
	slices.SortFunc(sorted, netip.Prefix.Compare) // outer before inner
	set := sorted[:0]
	for _, p := range sorted {
		if len(set) == 0 || !set[len(set)-1].Overlaps(p) {
			set = append(set, p)
		}
	}
	return prefixSet(set)
}

// overlaps reports whether p equals, covers or lies inside a member.
func (s prefixSet) overlaps(p netip.Prefix) bool {
	// Members are disjoint, so only the two around p's first address can touch it.
	i := sort.Search(len(s), func(i int) bool { return s[i].Addr().Compare(p.Addr()) >= 0 })
	return i < len(s) && s[i].Overlaps(p) || i > 0 && s[i-1].Overlaps(p)
}

// covers reports whether an address lies inside a member.
func (s prefixSet) covers(a netip.Addr) bool { return s.overlaps(host(a)) }

// host returns the prefix that holds one address only.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
