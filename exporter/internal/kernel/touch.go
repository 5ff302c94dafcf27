package kernel

import (
	"maps"
	"net/netip"
	"slices"
	"sort"

	"routewatch/shared/netstate"
)

// touch makes the picture after events that each named one object: the events of
// routes are replayed, the tables of neighbors and FDB entries read again, and
// the lookups that all this can have changed asked again. State.Touched says
// which subnets it concerns.
func (r *reader) touch(old *netstate.State, w *work) (*netstate.State, error) {
	fresh := *old
	tables, err := r.reread(&fresh, old, w)
	if err != nil {
		return nil, err
	}
	changed := slices.Clone(w.prefixes)
	if len(tables) > 0 {
		differences(old.Routes, fresh.Routes, netstate.CompareRoutes, func(r *netstate.Route) { changed = append(changed, r.Dst) })
	}
	if w.neighbors {
		differences(netstate.Refs(old.Neighbors), netstate.Refs(fresh.Neighbors), compareNeighbors,
			func(n *netstate.Neighbor) { changed = append(changed, host(n.IP)) })
	}
	area := newPrefixSet(changed)
	if w.peers {
		fresh.WireGuard = r.wireGuard(old.Links)
	}
	fresh.Touched = r.in.touchedSubnets(area)
	if !slices.Equal(old.FDB, fresh.FDB) || !samePeers(old.WireGuard, fresh.WireGuard) || slices.ContainsFunc(area, r.in.coversPublicIP) {
		fresh.Touched = nil // which leases have this MAC, key or endpoint only judge knows
	}
	if n, ok := r.in.near(area); ok {
		r.near = &n
		return r.lookNear(&fresh, old)
	}
	return r.lookEverywhere(&fresh, old, area)
}

// reread makes the lists of s that the events of a touch concern, and returns the
// tables that it took to read. They are sorted apart: the other lists are
// published and may be read meanwhile.
func (r *reader) reread(s, old *netstate.State, w *work) (tables map[tableKey]bool, err error) {
	s.Routes, tables = replay(old.Routes, w.changes, r.keepsBy(r.in.flannelDevices(old.Links)))
	union(&tables, w.tables)
	var fresh netstate.State
	if len(tables) > 0 {
		if fresh.Routes, err = r.tables(tables, newSieve(r.in, old, old)); err != nil {
			return nil, err
		}
		for _, rt := range s.Routes {
			if !tables[keyOf(rt)] {
				fresh.Routes = append(fresh.Routes, rt)
			}
		}
	}
	if w.neighbors {
		if fresh.Neighbors, err = r.neighbors(r.in.vxlanDevices(old.Links)); err != nil {
			return nil, err
		}
	}
	if w.fdb {
		if fresh.FDB, err = r.fdb(r.in.vxlanDevices(old.Links)); err != nil {
			return nil, err
		}
	}
	fresh.Sort()
	if len(tables) > 0 {
		s.Routes = fresh.Routes
	}
	if w.neighbors {
		s.Neighbors = fresh.Neighbors
	}
	if w.fdb {
		s.FDB = fresh.FDB
	}
	return tables, nil
}

// keepsBy is which routes belong into the picture, while these are the flannel devices.
func (r *reader) keepsBy(flannel []int) func(*netstate.Route) bool {
	return func(rt *netstate.Route) bool { return r.in.keeps(rt, slices.Contains(flannel, rt.Device)) }
}

// lookEverywhere asks again what a change of any destination can concern.
func (r *reader) lookEverywhere(s, old *netstate.State, area prefixSet) (*netstate.State, error) {
	if !maps.Equal(r.in.relevant(old), r.in.relevant(s)) {
		if err := r.settings(s); err != nil {
			return nil, err
		}
	}
	// A change of a route concerns a lookup only if its prefix covers the address. The
	// few of forwarded packets, whose source counts too, are always asked.
	ask, reused := split(r.in.queries(s), old.Lookups, func(l *netstate.Lookup) bool {
		return l.Query.IIF == 0 && !area.covers(l.Query.Dst)
	})
	s.Lookups = reused
	return r.finish(s, ask)
}

// split returns the queries to ask again and, of the others, the answers that the
// picture before has and that still hold. All are in the order of the queries.
func split(queries []netstate.Query, known []*netstate.Lookup, holds func(*netstate.Lookup) bool) (
	ask []netstate.Query, reused []*netstate.Lookup) {
	for _, q := range queries {
		for len(known) > 0 && known[0].Query.Compare(q) < 0 {
			known = known[1:]
		}
		if len(known) > 0 && known[0].Query == q && holds(known[0]) {
			reused = append(reused, known[0])
		} else {
			ask = append(ask, q)
		}
	}
	return ask, reused
}

// maxNear bounds the peers and the changes of a near; with more, looking at
// everything costs little more.
const maxNear = 64

// near is what changes of a few destinations can concern, so that one touched
// lease costs one lease.
type near struct {
	area  prefixSet      // the changes and the subnets of peers that they overlap
	peers []netip.Prefix // these
}

// near returns what a change of the area can concern; ok is false if that is
// much, or if it is about the node's own subnet, which tells what pods' packets
// come in by and so which devices matter.
func (i *interest) near(changed prefixSet) (n near, ok bool) {
	if len(changed) > maxNear {
		return near{}, false
	}
	first := i.peerList.overlapping(changed)
	n.peers = i.peerList.overlapping(newPrefixSet(slices.Concat(changed, first))) // subnets can hold one another
	n.area = newPrefixSet(slices.Concat(changed, n.peers))
	return n, len(n.peers) <= maxNear && !slices.ContainsFunc(i.own, n.area.overlaps)
}

// lookNear asks again what the near destinations concern, and shares the other
// answers with the picture before.
func (r *reader) lookNear(s, old *netstate.State) (*netstate.State, error) {
	fresh, err := r.answers(r.in.queriesNear(s, r.near))
	if err != nil {
		return nil, err
	}
	all := make([]*netstate.Lookup, 0, len(old.Lookups)+len(fresh))
	rest := old.Lookups
	for _, p := range r.near.area {
		before, _, after := cut(rest, p)
		all = append(all, before...)
		for len(fresh) > 0 && p.Contains(fresh[0].Query.Dst) {
			all, fresh = append(all, fresh[0]), fresh[1:]
		}
		rest = after
	}
	all = append(all, rest...)
	s.Lookups = all
	return r.complete(s), nil
}

// cut splits sorted lookups by whether they are for an address inside p.
func cut(all []*netstate.Lookup, p netip.Prefix) (before, inside, after []*netstate.Lookup) {
	i := sort.Search(len(all), func(i int) bool { return all[i].Query.Dst.Compare(p.Addr()) >= 0 })
	n := sort.Search(len(all)-i, func(n int) bool { return !p.Contains(all[i+n].Query.Dst) })
	return all[:i], all[i : i+n], all[i+n:]
}

// queriesNear are those of queries that are for an address in the area.
func (i *interest) queriesNear(s *netstate.State, n *near) []netstate.Query {
	var all []netstate.Query
	for _, p := range n.peers {
		all = i.appendPeer(all, s, p)
	}
	for _, p := range n.area {
		j, _ := slices.BinarySearchFunc(i.publicIPs, p.Addr(), netip.Addr.Compare)
		for ; j < len(i.publicIPs) && p.Contains(i.publicIPs[j]); j++ {
			all = append(all, netstate.Query{Dst: i.publicIPs[j]})
		}
	}
	all = i.appendInputs(all, s, n.area.overlaps)
	slices.SortFunc(all, netstate.Query.Compare)
	return slices.Compact(all)
}
