package kernel

import (
	"slices"
	"sort"

	"golang.org/x/sys/unix"

	"routewatch/shared/netstate"
)

// routeChange is what the event of a route said.
type routeChange struct {
	route   netstate.Route
	deleted bool
	flags   uint16 // NLM_F_* of an event that did not delete
}

// replay makes the routes after some events out of those before them. It takes
// an event at its word only where that leaves no choice: one entry of a
// destination, table, priority and TOS at most, and one next hop. The tables of
// all others are returned, to be read: the kernel does not say which of several
// entries it changed, nor at which place it put one.
//
// An event that the routes show already changes nothing, so it does no harm that
// a dump can be newer than the events that are still to come.
func replay(
	old []*netstate.Route, changes []routeChange, keeps func(*netstate.Route) bool,
) (routes []*netstate.Route, unclear map[tableKey]bool) {
	if len(changes) == 0 {
		return old, nil
	}
	routes = slices.Clone(old)
	for n := range changes {
		c := &changes[n]
		i := sort.Search(len(routes), func(i int) bool { return netstate.CompareRoutes(routes[i], &c.route) >= 0 })
		j := i
		for j < len(routes) && netstate.CompareRoutes(routes[j], &c.route) == 0 {
			j++
		}
		switch {
		case j-i > 1 || !c.clear() || j > i && !c.explains(routes[i]):
			set(&unclear, keyOf(&c.route))
		case c.deleted:
			routes = slices.Delete(routes, i, j)
		case j > i:
			routes[i] = &c.route
		case keeps(&c.route):
			routes = slices.Insert(routes, i, &c.route)
		}
	}
	return routes, unclear
}

// clear reports whether the event alone tells the whole route.
func (c *routeChange) clear() bool { return !c.route.Multipath && c.route.NextHopID == 0 }

// explains reports whether nothing but was can have been there before the event,
// or is already what came of it.
func (c *routeChange) explains(was *netstate.Route) bool {
	if was.Multipath || was.NextHopID != 0 {
		return false
	}
	switch {
	case c.deleted:
	case c.flags&unix.NLM_F_REPLACE != 0:
		return true
	case c.flags&unix.NLM_F_EXCL == 0: // put beside another one, which can be the same but for what is not kept here
		return false
	}
	now := *was
	now.Dead, now.LinkDown = c.route.Dead, c.route.LinkDown // come and go without an event
	return now == c.route
}
