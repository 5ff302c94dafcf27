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

// prefixList finds those of many prefixes, which may hold one another, that
// overlap another prefix.
type prefixList struct {
	sorted []netip.Prefix // by netip.Prefix.Compare, unique
	bits   []int          // their lengths, ascending, unique
}

func newPrefixList(prefixes []netip.Prefix) prefixList {
	l := prefixList{sorted: slices.Clone(prefixes)}
	slices.SortFunc(l.sorted, netip.Prefix.Compare)
	l.sorted = slices.Compact(l.sorted)
	for _, p := range l.sorted {
		l.bits = append(l.bits, p.Bits())
	}
	slices.Sort(l.bits)
	l.bits = slices.Compact(l.bits)
	return l
}

// overlapping returns the members that overlap the set, sorted and unique; never nil.
func (l prefixList) overlapping(set prefixSet) []netip.Prefix {
	found := []netip.Prefix{}
	for _, p := range set {
		for _, bits := range l.bits {
			if bits >= p.Bits() {
				break
			}
			wide, err := p.Addr().Prefix(bits)
			if _, member := slices.BinarySearchFunc(l.sorted, wide, netip.Prefix.Compare); member && err == nil {
				found = append(found, wide)
			}
		}
		i, _ := slices.BinarySearchFunc(l.sorted, p, netip.Prefix.Compare)
		for ; i < len(l.sorted) && p.Contains(l.sorted[i].Addr()); i++ {
			found = append(found, l.sorted[i])
		}
	}
	slices.SortFunc(found, netip.Prefix.Compare)
	return slices.Compact(found)
}

// host returns the prefix that holds one address only.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
