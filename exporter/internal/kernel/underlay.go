package kernel

import (
	"slices"

	"routewatch/shared/netstate"
)

// onlyFlannel reports whether something happened to flannel's devices and to no
// other, as far as events tell. The reads that follow such events later have none,
// and trust nothing.
func (r *reader) onlyFlannel(old *netstate.State, w *work, flannel []int) bool {
	before := r.in.flannelDevices(old.Links)
	for d := range w.devices { // 0 is a rule's, for one
		if !slices.Contains(flannel, d) && !slices.Contains(before, d) {
			return false
		}
	}
	return len(w.devices) > 0 && !w.anywhere
}

// splitUnderlay returns the queries to ask again after events of flannel's devices
// alone, and the answers of the others, a third of all: how packets reach the
// peers' public IPs has not changed where that leads through another device, and no
// route that covers the address came or went.
func (r *reader) splitUnderlay(old, s *netstate.State, w *work, queries []netstate.Query, suspects map[int]bool) (
	ask []netstate.Query, reused []*netstate.Lookup) {
	var changed prefixSet
	for _, p := range w.prefixes {
		if r.in.coversPublicIP(p) {
			changed = append(changed, p)
		}
	}
	differences(old.Routes, s.Routes, netstate.CompareRoutes, func(rt *netstate.Route) {
		if r.in.coversPublicIP(rt.Dst) {
			changed = append(changed, rt.Dst)
		}
	})
	area := newPrefixSet(changed)
	same := func(l *netstate.Lookup) bool {
		rt := &l.Route
		return !suspects[rt.Device] && !rt.Multipath && rt.NextHopID == 0 &&
			!slices.Contains(w.prefSrcs, rt.PrefSrc) && !area.covers(l.Query.Dst)
	}
	known, public := old.Lookups, r.in.publicIPs // both in the order of the queries
	for _, q := range queries {
		for len(known) > 0 && known[0].Query.Compare(q) < 0 {
			known = known[1:]
		}
		for len(public) > 0 && public[0].Less(q.Dst) {
			public = public[1:]
		}
		if len(public) > 0 && len(known) > 0 && q == (netstate.Query{Dst: public[0]}) && known[0].Query == q && same(known[0]) {
			reused = append(reused, known[0])
		} else {
			ask = append(ask, q)
		}
	}
	return ask, reused
}
