package kernel

import (
	"net/netip"
	"slices"
	"time"

	"routewatch/shared/netstate"
)

// The reasons for a sweep (netstate.Counters.Resyncs).
const (
	resyncStart        = "start"
	resyncLeases       = "leases"
	resyncOverrun      = "overrun"
	resyncEvents       = "events"
	resyncDisagreement = "disagreement"
	resyncAudit        = "audit"
)

// maxTouched bounds the prefixes of a touch; more are a recheck. It bounds the
// changes of routes as well; with more, their tables are read.
const maxTouched = 1024

// work is what has to be read again, and the hints that say so. The widest of
// sweep, recheck and touch is done; each includes the narrower ones.
type work struct {
	sweep   string // its reason; "" is none
	recheck bool
	touched bool // any of the following is set

	devices   map[int]bool      // whose routes a recheck reads
	prefSrcs  []netip.Addr      // lost addresses: routes that prefer them as source may be gone
	changes   []routeChange     // what events said of routes, in their order
	tables    map[tableKey]bool // to be read as a whole
	neighbors bool
	fdb       bool
	prefixes  []netip.Prefix
	routed    bool // some of the prefixes are of routes
	anywhere  bool // of routes there were too many to be kept

	peers bool // of WireGuard devices, of which no event tells

	hints hintLog
	since time.Time // when the oldest hint was received
}

func (w *work) empty() bool { return w.sweep == "" && !w.recheck && !w.touched && !w.peers }

// polls reports whether only WireGuard peers are read.
func (w *work) polls() bool { return w.peers && !w.readsLinks() && !w.touched }

// readsLinks reports whether devices and addresses are read again as well.
func (w *work) readsLinks() bool { return w.sweep != "" || w.recheck }

// needSweep asks for a sweep; the first reason counts.
func (w *work) needSweep(reason string) {
	if w.sweep == "" {
		w.sweep = reason
	}
}

// moved reports whether a hint is about a device or an address: the kernel may
// then change more in a moment, without a word.
func (w *work) moved() bool {
	return slices.ContainsFunc(w.hints, func(h netstate.Hint) bool {
		switch h.Kind {
		case netstate.LinkAdded, netstate.LinkChanged, netstate.LinkMACChanged, netstate.LinkDeleted, netstate.AddrAdded, netstate.AddrDeleted:
			return true
		}
		return false
	})
}

// add notes a hint and what it makes necessary to read.
func (w *work) add(h netstate.Hint) {
	if w.since.IsZero() {
		w.since = h.At
	}
	w.hints.add(h)
	switch h.Kind {
	case netstate.Overrun:
		w.needSweep(resyncOverrun)
	case netstate.Undecodable:
		w.needSweep(resyncEvents)
	case netstate.RouteAdded, netstate.RouteReplaced, netstate.RouteDeleted:
		w.routed = true
		w.touch(h.Prefix) // see change
	case netstate.NeighborChanged, netstate.NeighborDeleted:
		w.touch(h.Prefix)
		w.neighbors = true
	case netstate.FDBChanged, netstate.FDBDeleted:
		w.touched = true
		w.fdb = true
	case netstate.AddrDeleted:
		w.recheck = true
		set(&w.devices, h.Index)
		w.prefSrcs = append(w.prefSrcs, h.Prefix.Addr())
	default: // links, addresses, rules, next hops, netconf
		w.recheck = true
		set(&w.devices, h.Index)
	}
}

// change notes what an event said of a route.
func (w *work) change(c routeChange) {
	if w.changes = append(w.changes, c); len(w.changes) <= maxTouched {
		return
	}
	for i := range w.changes {
		set(&w.tables, keyOf(&w.changes[i].route))
	}
	w.changes = nil
}

func (w *work) touch(p netip.Prefix) {
	w.touched = true
	if w.prefixes = append(w.prefixes, p); len(w.prefixes) > maxTouched {
		w.recheck, w.anywhere, w.prefixes = true, w.anywhere || w.routed, w.prefixes[:0]
	}
}

// merge adds what another work found necessary later.
func (w *work) merge(o work) {
	if w.since.IsZero() {
		w.since = o.since
	}
	if o.sweep != "" {
		w.needSweep(o.sweep)
	}
	w.recheck = w.recheck || o.recheck
	w.touched = w.touched || o.touched
	w.routed = w.routed || o.routed
	w.anywhere = w.anywhere || o.anywhere
	w.peers = w.peers || o.peers
	union(&w.devices, o.devices)
	union(&w.tables, o.tables)
	w.neighbors = w.neighbors || o.neighbors
	w.fdb = w.fdb || o.fdb
	w.prefSrcs = append(w.prefSrcs, o.prefSrcs...)
	for _, c := range o.changes {
		w.change(c)
	}
	for _, p := range o.prefixes {
		w.touch(p)
	}
	w.hints.add(o.hints...)
}

func set[K comparable](m *map[K]bool, k K) {
	if *m == nil {
		*m = map[K]bool{}
	}
	(*m)[k] = true
}

func union[K comparable](m *map[K]bool, o map[K]bool) {
	for k := range o {
		set(m, k)
	}
}
