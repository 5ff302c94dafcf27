package kernel

import (
	"net/netip"
	"slices"

	"routewatch/shared/netstate"
)

// scope says which events matter for a picture. It is immutable.
type scope struct {
	in      *interest
	base    *netstate.State   // the picture: its links and addresses are what events are compared with
	devices map[int]bool      // that the picture depends on
	flannel []int             // the flannel devices
	vxlan   []int             // those of them that have neighbors and FDB entries
	tables  map[tableKey]bool // that a lookup may consult; nil: not known yet, so all
	// pods are the routes to the node's own pods that matter: the one in the
	// picture, or any (the zero prefix); none in a family that is not here.
	pods map[netstate.Family]netip.Prefix
}

func newScope(in *interest, s *netstate.State, tables map[tableKey]bool) *scope {
	c := &scope{
		in: in, base: s, devices: in.relevant(s), tables: tables, pods: in.podRoutes(s),
		flannel: in.flannelDevices(s.Links), vxlan: in.vxlanDevices(s.Links),
	}
	for _, a := range s.Addrs {
		if slices.ContainsFunc(in.own, func(own netip.Prefix) bool { return own.Contains(a.Prefix.Addr()) }) {
			c.device(a.Device) // pods may be behind it once it is up
		}
	}
	for _, r := range s.Routes {
		c.device(r.Device)
	}
	for _, l := range s.Lookups {
		c.device(l.Route.Device)
	}
	return c
}

func (c *scope) device(index int) {
	if index != 0 {
		set(&c.devices, index)
	}
}

// within reports whether every event that matters here mattered in o as well,
// and o's filter let it come.
func (c *scope) within(o *scope) bool {
	// A device that became flannel's, by its name say, may be in o.devices as
	// another: then its link event was seen, and what came after it was not.
	if !subset(c.flannel, o.flannel) || !subset(c.vxlan, o.vxlan) {
		return false
	}
	for d := range c.devices {
		if !o.devices[d] {
			return false
		}
	}
	for t := range c.tables {
		if o.tables != nil && !o.tables[t] {
			return false
		}
	}
	for f, p := range c.pods {
		if before, ok := o.pods[f]; !ok || before.IsValid() && before != p {
			return false
		}
	}
	return c.in == o.in
}

func subset(a, b []int) bool {
	return !slices.ContainsFunc(a, func(v int) bool { return !slices.Contains(b, v) })
}

// route reports whether the event of a route matters.
func (c *scope) route(r *netstate.Route, viaFlannel bool) bool {
	if c.tables != nil && !c.tables[tableKey{netstate.FamilyOf(r.Dst.Addr()), r.Table}] {
		return false
	}
	if c.in.keeps(r, viaFlannel) || c.in.coversPublicIP(r.Dst) {
		return true
	}
	p, ok := c.pods[netstate.FamilyOf(r.Dst.Addr())]
	return ok && (!p.IsValid() || p == r.Dst) && leadsToPods(r) && c.in.podRoute(r, viaFlannel)
}

// hasAddr reports whether the picture's device has the address.
func (c *scope) hasAddr(a netstate.Addr) bool {
	for p := range c.base.AddrsOf(a.Device) {
		if p == a.Prefix {
			return true
		}
	}
	return false
}

// consulted returns the tables that a lookup can come to: those that a rule
// selects, and main, default and local, which need none while there are no
// rules. extra are tables that answers named and no rule did: those of a VRF
// (action l3mdev).
func consulted(rules []netstate.Rule, extra map[tableKey]bool) map[tableKey]bool {
	tables := map[tableKey]bool{}
	for _, f := range families() {
		for _, t := range []uint32{netstate.TableDefault, netstate.TableMain, netstate.TableLocal} {
			tables[tableKey{f, t}] = true
		}
	}
	for _, r := range rules {
		if r.Action == ruleToTable && r.Table != 0 {
			tables[tableKey{r.Family, r.Table}] = true
		}
	}
	union(&tables, extra)
	return tables
}

const ruleToTable = 1 // FR_ACT_TO_TBL

// after is the scope of a picture that differs from this one's near a few
// destinations only. What mattered before still does.
func (c *scope) after(s *netstate.State, n *near, hops map[int]bool) *scope {
	next := *c
	next.base, next.devices = s, nil
	for _, p := range n.area {
		for _, r := range slices.Concat(s.RoutesTo(p), s.RoutesInside(p)) {
			next.device(r.Device)
		}
		_, inside, _ := cut(s.Lookups, p)
		for _, l := range inside {
			next.device(l.Route.Device)
		}
	}
	for d := range hops {
		next.device(d)
	}
	if next.within(c) {
		next.devices = c.devices
	} else {
		union(&next.devices, c.devices)
	}
	return &next
}
