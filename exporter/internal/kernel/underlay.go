package kernel

import (
	"net/netip"
	"slices"

	"routewatch/shared/netstate"
)

// concernsOnly reports whether something happened to some of the devices and to no
// other, as far as events tell. The reads that follow such events later have none,
// and trust nothing.
func (w *work) concernsOnly(devices []int) bool {
	for d := range w.devices { // 0 is a rule's, for one
		if !slices.Contains(devices, d) {
			return false
		}
	}
	return len(w.devices) > 0 && !w.anywhere
}

// underlayHolds tells, after events of flannel's devices alone, which answers still
// hold, a third of all: packets reach a peer's public IP as before where that leads
// through another device, and no route that covers the address came or went.
func (r *reader) underlayHolds(old, s *netstate.State, w *work, suspects map[int]bool) func(*netstate.Lookup) bool {
	var changed []netip.Prefix
	note := func(p netip.Prefix) {
		if r.in.coversPublicIP(p) {
			changed = append(changed, p)
		}
	}
	for _, p := range w.prefixes {
		note(p)
	}
	differences(old.Routes, s.Routes, netstate.CompareRoutes, func(rt *netstate.Route) { note(rt.Dst) })
	area := newPrefixSet(changed)
	return func(l *netstate.Lookup) bool {
		q, rt := l.Query, &l.Route
		return !suspects[rt.Device] && !rt.Multipath && rt.NextHopID == 0 && !slices.Contains(w.prefSrcs, rt.PrefSrc) &&
			q == (netstate.Query{Dst: q.Dst}) && r.in.coversPublicIP(host(q.Dst)) && !area.covers(q.Dst)
	}
}
