package kernel

import (
	"cmp"
	"slices"

	"routewatch/shared/netstate"
)

// differences calls changed with each entry that one of two sorted lists has and
// the other has not, or has otherwise (once, with the new one).
func differences[T comparable](old, new []*T, compare func(a, b *T) int, changed func(*T)) {
	for len(old) > 0 && len(new) > 0 {
		c := 0
		if old[0] != new[0] { // else nothing of it can differ
			c = compare(old[0], new[0])
		}
		switch {
		case c < 0:
			changed(old[0])
		case c > 0 || *old[0] != *new[0]:
			changed(new[0])
		}
		if c <= 0 {
			old = old[1:]
		}
		if c >= 0 {
			new = new[1:]
		}
	}
	for _, v := range old {
		changed(v)
	}
	for _, v := range new {
		changed(v)
	}
}

func compareNeighbors(a, b *netstate.Neighbor) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), a.IP.Compare(b.IP))
}

func compareNetConf(a, b *netstate.NetConf) int {
	return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Device, b.Device))
}

// drift counts the objects that differ between two pictures of the same
// interest and that events would have told of. What concerns only devices on
// which nothing depends is left out, and so is the kernel's own bookkeeping
// (states of neighbors that are not permanent), which it does not announce.
func drift(c *scope, old, new *netstate.State) int {
	n := 0
	countValues(&n, relevantLinks(c, old), relevantLinks(c, new), func(a, b *netstate.Link) int { return cmp.Compare(a.Index, b.Index) })
	countValues(&n, relevantAddrs(c, old), relevantAddrs(c, new), compareAddrs)
	countValues(&n, old.Rules, new.Rules, func(a, b *netstate.Rule) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority))
	})
	count(&n, old.Routes, new.Routes, netstate.CompareRoutes)
	countValues(&n, lasting(old.Neighbors), lasting(new.Neighbors), compareNeighbors)
	countValues(&n, old.FDB, new.FDB, func(a, b *netstate.FDBEntry) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), slices.Compare(a.MAC[:], b.MAC[:]), a.Dst.Compare(b.Dst))
	})
	count(&n, old.Lookups, new.Lookups, func(a, b *netstate.Lookup) int { return a.Query.Compare(b.Query) })
	countValues(&n, old.NetConf, new.NetConf, compareNetConf)
	return n
}

func count[T comparable](n *int, old, new []*T, compare func(a, b *T) int) {
	differences(old, new, compare, func(*T) { *n++ })
}

func countValues[T comparable](n *int, old, new []T, compare func(a, b *T) int) {
	count(n, netstate.Refs(old), netstate.Refs(new), compare)
}

func compareAddrs(a, b *netstate.Addr) int {
	return cmp.Or(cmp.Compare(a.Device, b.Device), a.Prefix.Compare(b.Prefix))
}

func relevantLinks(c *scope, s *netstate.State) []netstate.Link {
	return slices.DeleteFunc(slices.Clone(s.Links), func(l netstate.Link) bool { return !c.devices[l.Index] })
}

func relevantAddrs(c *scope, s *netstate.State) []netstate.Addr {
	kept := slices.DeleteFunc(slices.Clone(s.Addrs), func(a netstate.Addr) bool { return !c.devices[a.Device] })
	slices.SortFunc(kept, func(a, b netstate.Addr) int { return compareAddrs(&a, &b) }) // State.Sort leaves the order of prefix lengths open
	return kept
}

// lasting leaves out the neighbors that the kernel does not send with, and
// reduces the state of the others to whether it is permanent.
func lasting(all []netstate.Neighbor) []netstate.Neighbor {
	var kept []netstate.Neighbor
	for _, n := range all {
		if !n.Usable() {
			continue
		}
		if n.State = netstate.NUDReachable; n.Permanent() {
			n.State = netstate.NUDPermanent
		}
		kept = append(kept, n)
	}
	return kept
}
