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
	vrf   map[tableKey]bool
	peers *wireGuards
	// waited is for how long others held the network lock.
	waited time.Duration
	// caughtUp, if set, adds to a work what events that came until now make necessary.
	caughtUp func(*work)
	// near is what the last touch was limited to; nil: it, or another read, was not.
	near *near
}

// perform does the widest operation that the work asks for.
func (r *reader) perform(old *netstate.State, job *work) (*netstate.State, error) {
	r.near = nil
	switch {
	case job.sweep != "":
		return r.sweep(old, job)
	case job.recheck:
		s, err := r.recheck(old, job)
		if s != nil || err != nil {
			return s, err
		}
		job.needSweep(resyncEvents)
		return r.sweep(old, job)
	}
	if job.touched {
		return r.touch(old, job)
	}
	return r.poll(old)
}

// poll reads the WireGuard peers again. Which lease has which key, and which is
// stale, only judge knows.
func (r *reader) poll(old *netstate.State) (*netstate.State, error) {
	fresh := *old
	fresh.WireGuard, fresh.Touched = r.wireGuard(old.Links), nil
	return r.finish(&fresh, nil)
}

// sweep reads everything.
func (r *reader) sweep(old *netstate.State, w *work) (*netstate.State, error) {
	r.req.hops = nil
	s, err := r.devices(w)
	if err != nil {
		return nil, err
	}
	if s.Routes, err = r.tables(r.consulted(s), newSieve(r.in, old, s)); err != nil {
		return nil, err
	}
	s.Sort()
	if err := r.settings(s); err != nil {
		return nil, err
	}
	return r.finish(s, r.in.queries(s))
}

// recheck reads everything but the routes through devices that nothing happened
// to. It returns nil if that is not enough and only a sweep will do.
func (r *reader) recheck(old *netstate.State, w *work) (*netstate.State, error) {
	s, err := r.devices(w)
	if err != nil {
		return nil, err
	}
	if w.sweep != "" { // events were lost meanwhile
		return nil, nil
	}
	v := newSieve(r.in, old, s)
	flannel := slices.Concat(r.in.flannelDevices(old.Links), v.flannel)
	devices := r.suspects(old, w, flannel)
	if len(devices) > maxDeviceDumps || !r.recheckable(old, s) {
		return nil, nil
	}
	tables := r.consulted(s)
	before, unclear := replay(old.Routes, w.changes, r.keepsBy(v.flannel))
	whole := aliased(before)
	union(&whole, w.tables)
	union(&whole, unclear)
	s.Routes = slices.DeleteFunc(slices.Clone(before), func(rt *netstate.Route) bool {
		gone := devices[rt.Device] || whole[keyOf(rt)] || !tables[keyOf(rt)]
		return gone || r.in.isPodRoute(old, rt) && !v.keeps(rt) // picked anew
	})
	for t := range tables {
		if err := r.retable(s, t, whole[t], devices, v); err != nil {
			return nil, err
		}
	}
	s.Routes = append(s.Routes, v.take()...)
	s.Sort()
	for f, now := range r.in.podRoutes(s) {
		if before, looked := v.was[f]; !looked || before != now {
			return nil, nil // there may be others, of devices that were not looked at
		}
	}
	for t := range aliased(s.Routes) {
		if !whole[t] {
			return nil, nil
		}
	}
	if err := r.settings(s); err != nil {
		return nil, err
	}
	ask := r.in.queries(s)
	if w.concernsOnly(flannel) {
		ask, s.Lookups = split(ask, old.Lookups, r.underlayHolds(old, s, w, devices))
	}
	return r.finish(s, ask)
}

// retable adds the routes of one table: all, or those through the devices.
func (r *reader) retable(s *netstate.State, t tableKey, all bool, devices map[int]bool, v *sieve) error {
	if all {
		devices = map[int]bool{0: true}
	}
	for d := range devices {
		if _, there := s.Link(d); !there && d != 0 {
			continue // as its routes are
		}
		fresh, err := r.table(t, d, v)
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

// aliased returns the tables with routes that share destination, priority and
// TOS: their order counts, and only a dump of the whole table shows it. Table
// local of IPv6 often is one: the address of the flannel device is also the
// anycast address of cni0's subnet.
func aliased(sorted []*netstate.Route) map[tableKey]bool {
	tables := map[tableKey]bool{}
	for i := 1; i < len(sorted); i++ {
		if netstate.CompareRoutes(sorted[i-1], sorted[i]) == 0 {
			tables[keyOf(sorted[i])] = true
		}
	}
	return tables
}

// suspects are the devices whose routes may have changed without a route event:
// flannel's, before and now, and those that something happened to.
func (r *reader) suspects(old *netstate.State, w *work, flannel []int) map[int]bool {
	devices := map[int]bool{}
	for _, d := range flannel {
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

// devices begins a picture: what the kernel's network lock guards, and the
// neighbors and FDB entries of the flannel devices.
func (r *reader) devices(w *work) (s *netstate.State, err error) {
	start := time.Now()
	if err := r.req.barrier(); err != nil {
		return nil, err
	}
	r.waited += time.Since(start)
	if r.caughtUp != nil { // what came while the lock was held is read here, and need not be read again
		r.caughtUp(w)
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
	vxlan := r.in.vxlanDevices(s.Links)
	if s.Neighbors, err = r.neighbors(vxlan); err != nil {
		return nil, err
	}
	s.FDB, err = r.fdb(vxlan)
	s.WireGuard = r.wireGuard(s.Links)
	return s, err
}

// settings reads those of the devices that matter, which the routes may tell.
func (r *reader) settings(s *netstate.State) error {
	wanted := r.in.relevant(s)
	all, err := r.req.netconf(func(d int) bool { return d == netstate.NetConfAll || wanted[d] })
	slices.SortFunc(all, func(a, b netstate.NetConf) int { return compareNetConf(&a, &b) })
	s.NetConf = all
	return err
}

// tables reads the routes to keep of some tables.
func (r *reader) tables(tables map[tableKey]bool, v *sieve) ([]*netstate.Route, error) {
	var all []*netstate.Route
	for t := range tables {
		some, err := r.table(t, 0, v)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return append(all, v.take()...), nil
}

func (r *reader) table(t tableKey, device int, v *sieve) ([]*netstate.Route, error) {
	var kept []netstate.Route
	err := r.req.routes(t, device, &v.foreigns, func(rt *netstate.Route) bool {
		keep := v.keeps(rt)
		if keep {
			kept = append(kept, *rt)
		}
		return keep
	})
	if err != nil {
		return nil, err
	}
	all := netstate.Refs(kept)
	var open []*netstate.Route
	for _, rt := range all {
		if unresolved(rt) {
			open = append(open, rt)
		}
	}
	return all, r.resolve(open)
}

// finish asks lookups and completes the picture, which may have other answers already.
func (r *reader) finish(s *netstate.State, ask []netstate.Query) (*netstate.State, error) {
	answers, err := r.answers(ask)
	if err != nil {
		return nil, err
	}
	s.Lookups = merged(s.Lookups, answers, func(a, b *netstate.Lookup) int { return a.Query.Compare(b.Query) })
	return r.complete(s), nil
}

func (r *reader) complete(s *netstate.State) *netstate.State {
	s.At, s.Generation, s.Complete = time.Now(), r.in.Generation, true
	return s
}

// answers asks the lookups, in the order of the queries.
func (r *reader) answers(ask []netstate.Query) ([]*netstate.Lookup, error) {
	answers, err := r.req.lookups(ask)
	if err != nil {
		return nil, err
	}
	var open []*netstate.Route
	for i := range answers {
		if unresolved(&answers[i].Route) {
			open = append(open, &answers[i].Route)
		}
	}
	return netstate.Refs(answers), r.resolve(open)
}

// learn notes the tables of answers that no rule names.
func (r *reader) learn(s *netstate.State) {
	tables := r.consulted(s)
	for _, l := range s.Lookups {
		if k := keyOf(&l.Route); l.Errno == 0 && !tables[k] {
			set(&r.vrf, k)
		}
	}
}

// scope says which events matter for a picture that was read here.
func (r *reader) scope(s *netstate.State) *scope {
	c := newScope(r.in, s, r.consulted(s))
	for d := range r.req.hops {
		c.device(d)
	}
	return c
}

func (r *reader) consulted(s *netstate.State) map[tableKey]bool { return consulted(s.Rules, r.vrf) }

func keyOf(r *netstate.Route) tableKey { return tableKey{netstate.FamilyOf(r.Dst.Addr()), r.Table} }
