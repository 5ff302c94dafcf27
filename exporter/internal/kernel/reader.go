package kernel

import (
	"slices"
	"time"

	"routewatch/shared/netstate"
)

// maxDeviceDumps is up to how many devices a recheck reads routes by device;
// beyond, whole tables are cheaper.
const maxDeviceDumps = 16

// reader makes pictures. Its three operations differ only in how much of the
// previous picture they trust: sweep nothing, recheck the routes through devices
// that nothing happened to, touch all that no event named.
//
// A picture has everything of a netstate.State but Hints, Counters and Triggered.
type reader struct {
	req *requests
	in  *interest
	// vrf are tables that answers came from although no rule names them.
	vrf map[tableKey]bool
}

// sweep reads everything.
func (r *reader) sweep() (*netstate.State, error) {
	s, err := r.devices()
	if err != nil {
		return nil, err
	}
	if s.Routes, err = r.tables(r.consulted(s), r.in.flannelDevices(s.Links)); err != nil {
		return nil, err
	}
	s.Sort()
	return r.finish(s, r.in.queries(s))
}

// recheck reads everything but the routes through devices that nothing happened
// to. It returns nil if that is not enough and only a sweep will do.
func (r *reader) recheck(old *netstate.State, w *work) (*netstate.State, error) {
	s, err := r.devices()
	if err != nil {
		return nil, err
	}
	flannel := r.in.flannelDevices(s.Links)
	devices := r.suspects(old, w, flannel)
	if len(devices) > maxDeviceDumps || !r.recheckable(old, s) {
		return nil, nil
	}
	tables := r.consulted(s)
	s.Routes = slices.DeleteFunc(slices.Clone(old.Routes), func(rt netstate.Route) bool {
		return devices[rt.Device] || w.tables[keyOf(rt)] || !tables[keyOf(rt)]
	})
	for t := range tables {
		if err := r.retable(s, t, w.tables[t], devices, flannel); err != nil {
			return nil, err
		}
	}
	s.Sort()
	if aliased(s.Routes) {
		return nil, nil
	}
	return r.finish(s, r.in.queries(s))
}

// retable adds the routes of one table: all, or those through the devices.
func (r *reader) retable(s *netstate.State, t tableKey, all bool, devices map[int]bool, flannel []int) error {
	if all {
		devices = map[int]bool{0: true}
	}
	for d := range devices {
		if _, there := s.Link(d); !there && d != 0 {
			continue // as its routes are
		}
		fresh, err := r.table(t, d, flannel)
		if err != nil {
			return err
		}
		s.Routes = append(s.Routes, fresh...)
	}
	return nil
}

// recheckable reports whether reading by device shows all that can have
// changed: the kernel dumps a route with several next hops, or with a next-hop
// object, for each of its devices, and Route.Device is but the first.
func (r *reader) recheckable(old, s *netstate.State) bool {
	for _, rt := range old.Routes {
		if rt.Multipath || rt.NextHopID != 0 {
			return false
		}
	}
	before := r.consulted(old)
	for t := range r.consulted(s) {
		if !before[t] {
			return false
		}
	}
	return true
}

// aliased reports whether routes share destination, table, priority and TOS.
// Their order counts, and only the dump of the whole table shows it.
func aliased(sorted []netstate.Route) bool {
	for i := 1; i < len(sorted); i++ {
		if netstate.CompareRoutes(sorted[i-1], sorted[i]) == 0 {
			return true
		}
	}
	return false
}

// suspects are the devices whose routes may have changed without a route event.
func (r *reader) suspects(old *netstate.State, w *work, flannel []int) map[int]bool {
	devices := map[int]bool{}
	for _, d := range append(r.in.flannelDevices(old.Links), flannel...) {
		devices[d] = true
	}
	for d := range w.devices {
		if d > 0 { // neither a rule's nor NetConfAll
			devices[d] = true
		}
	}
	for _, rt := range old.Routes {
		if rt.Device > 0 && rt.PrefSrc.IsValid() && slices.Contains(w.prefSrcs, rt.PrefSrc) {
			devices[rt.Device] = true
		}
	}
	return devices
}

// touch reads the tables and devices that events named, and asks again for the
// lookups that they can have changed. State.Touched says which subnets it concerns.
func (r *reader) touch(old *netstate.State, w *work) (*netstate.State, error) {
	s := *old
	flannel := r.in.flannelDevices(old.Links)
	if len(w.tables) > 0 {
		fresh, err := r.tables(w.tables, flannel)
		if err != nil {
			return nil, err
		}
		for _, rt := range old.Routes {
			if !w.tables[keyOf(rt)] {
				fresh = append(fresh, rt)
			}
		}
		s.Routes = fresh
	}
	if err := r.touchDevices(&s, w, flannel); err != nil {
		return nil, err
	}
	fresh := netstate.State{Routes: slices.Clone(s.Routes), Neighbors: slices.Clone(s.Neighbors), FDB: slices.Clone(s.FDB)}
	fresh.Sort() // not s: the other slices are published and may be read meanwhile
	s.Routes, s.Neighbors, s.FDB = fresh.Routes, fresh.Neighbors, fresh.FDB

	changed := changedPrefixes(old, &s, w)
	queries, reused := r.split(old, &s, changed)
	s.Lookups, s.Touched = reused, r.in.touchedSubnets(changed)
	if !slices.Equal(old.FDB, s.FDB) || slices.ContainsFunc(changed, r.in.coversPublicIP) {
		s.Touched = nil // which leases have this MAC or this endpoint only judge knows
	}
	return r.finish(&s, queries)
}

// changedPrefixes returns what the events of a touch named and what has in fact
// changed since, which may be more.
func changedPrefixes(old, s *netstate.State, w *work) prefixSet {
	changed := slices.Clone(w.prefixes)
	differences(old.Routes, s.Routes, netstate.CompareRoutes, func(r netstate.Route) { changed = append(changed, r.Dst) })
	differences(old.Neighbors, s.Neighbors, compareNeighbors, func(n netstate.Neighbor) { changed = append(changed, host(n.IP)) })
	return newPrefixSet(changed)
}

// split returns the queries to ask again, and the answers of the others: a
// change of a route concerns a lookup only if its prefix covers the address,
// or, for forwarded packets, the source's.
func (r *reader) split(old, s *netstate.State, changed prefixSet) (ask []netstate.Query, reused []netstate.Lookup) {
	for _, q := range r.in.queries(s) {
		if q.IIF == 0 && !changed.covers(q.Dst) {
			if l, ok := old.Lookup(q); ok {
				reused = append(reused, l)
				continue
			}
		}
		ask = append(ask, q)
	}
	return ask, reused
}

func (r *reader) touchDevices(s *netstate.State, w *work, flannel []int) (err error) {
	if len(w.neighbors) > 0 {
		s.Neighbors = nil
		for _, d := range flannel {
			n, err := r.req.neighbors(d)
			if err != nil {
				return err
			}
			s.Neighbors = append(s.Neighbors, n...)
		}
	}
	if len(w.fdb) > 0 {
		s.FDB = nil
		for _, d := range flannel {
			f, err := r.req.fdb(d)
			if err != nil {
				return err
			}
			s.FDB = append(s.FDB, f...)
		}
	}
	return nil
}

// devices begins a picture: what the kernel's network lock guards, and the
// neighbors and FDB entries of the flannel devices.
func (r *reader) devices() (s *netstate.State, err error) {
	if err := r.req.barrier(); err != nil {
		return nil, err
	}
	s = &netstate.State{}
	if s.Links, err = r.req.links(); err != nil {
		return nil, err
	}
	if s.Addrs, err = r.req.addrs(); err != nil {
		return nil, err
	}
	if s.Rules, err = r.req.rules(); err != nil {
		return nil, err
	}
	s.Sort()
	wanted := newScope(r.in, s, nil).devices
	s.NetConf, err = r.req.netconf(func(d int) bool { return d == netstate.NetConfAll || wanted[d] })
	if err != nil {
		return nil, err
	}
	flannel := r.in.flannelDevices(s.Links)
	everything := &work{neighbors: map[int]bool{0: true}, fdb: map[int]bool{0: true}}
	return s, r.touchDevices(s, everything, flannel)
}

// tables reads the routes to keep of some tables.
func (r *reader) tables(tables map[tableKey]bool, flannel []int) ([]netstate.Route, error) {
	var all []netstate.Route
	for t := range tables {
		some, err := r.table(t, 0, flannel)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func (r *reader) table(t tableKey, device int, flannel []int) ([]netstate.Route, error) {
	var kept []netstate.Route
	err := r.req.routes(t, device, func(rt netstate.Route) {
		if r.in.keeps(rt, slices.Contains(flannel, rt.Device)) {
			kept = append(kept, rt)
		}
	})
	return kept, err
}

// finish asks the lookups and completes the picture.
func (r *reader) finish(s *netstate.State, ask []netstate.Query) (*netstate.State, error) {
	answers, err := r.req.lookups(ask)
	if err != nil {
		return nil, err
	}
	s.Lookups = append(s.Lookups, answers...)
	slices.SortFunc(s.Lookups, func(a, b netstate.Lookup) int { return a.Query.Compare(b.Query) })
	s.At, s.Generation, s.Complete = time.Now(), r.in.Generation, true
	return s, nil
}

// learn notes the tables of answers that no rule names.
func (r *reader) learn(s *netstate.State) {
	tables := r.consulted(s)
	for _, l := range s.Lookups {
		if k := keyOf(l.Route); l.Errno == 0 && !tables[k] {
			set(&r.vrf, k)
		}
	}
}

func (r *reader) consulted(s *netstate.State) map[tableKey]bool { return consulted(s.Rules, r.vrf) }

func keyOf(r netstate.Route) tableKey { return tableKey{netstate.FamilyOf(r.Dst.Addr()), r.Table} }
