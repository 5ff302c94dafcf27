package kernel

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// disagreements returns the plain lookups that contradict the routes of the
// same picture: the answer is an entry that the dump did not have, or the dump
// has one that should have won. One of the two is then older than the other,
// or a table was not read.
func (i *interest) disagreements(s *netstate.State) []netstate.Query {
	return disagreements(s, i.peerList.sorted)
}

func disagreements(s *netstate.State, peers []netip.Prefix) []netstate.Query {
	simple := simpleRules(s.Rules)
	var all []netstate.Query
	for _, p := range peers {
		check := func(dst netip.Addr) {
			l, ok := s.Lookup(netstate.Query{Dst: dst})
			if ok && (!answerKept(s, l) || simple[netstate.FamilyOf(dst)] && outdone(s, p, l)) {
				all = append(all, l.Query)
			}
		}
		check(expect.PodAddress(p))
		for _, r := range s.RoutesInside(p) {
			check(r.Dst.Addr())
		}
	}
	slices.SortFunc(all, netstate.Query.Compare)
	return slices.Compact(all)
}

// answerKept reports whether the routes hold the entry that answered.
func answerKept(s *netstate.State, l netstate.Lookup) bool {
	if l.Errno != 0 || l.Route.Multipath || l.Route.NextHopID != 0 { // any hop may answer
		return true
	}
	for _, r := range s.RoutesTo(l.Route.Dst) {
		if sameEntry(r, &l.Route) {
			return true
		}
	}
	return false
}

// sameEntry leaves out the flags, which a lookup reports otherwise than a dump,
// and knows that the kernel keeps table local inside main while there are no rules.
func sameEntry(kept, answer *netstate.Route) bool {
	table := kept.Table == answer.Table || kept.Table == netstate.TableLocal && answer.Table == netstate.TableMain
	hop := kept.Multipath || kept.Device == answer.Device && kept.Gateway == answer.Gateway
	return table && hop && kept.Type == answer.Type && kept.Priority == answer.Priority
}

// outdone reports whether a route for the peer's subnet, or inside it, is more
// specific than the answer although nothing known speaks against it.
func outdone(s *netstate.State, peer netip.Prefix, l netstate.Lookup) bool {
	bits := l.Route.Dst.Bits()
	switch unix.Errno(l.Errno) {
	case 0:
	case unix.ENETUNREACH:
		bits = -1
	default: // a route that discards answered, and does not say which
		return false
	}
	better := func(r *netstate.Route) bool {
		link, _ := s.Link(r.Device)
		return r.Type == netstate.Unicast && r.Table == netstate.TableMain && r.TOS == 0 && r.Dst.Bits() > bits &&
			r.Dst.Contains(l.Query.Dst) && link.Up && link.LowerUp && !r.Dead && !r.LinkDown
	}
	return slices.ContainsFunc(s.RoutesTo(peer), better) || slices.ContainsFunc(s.RoutesInside(peer), better)
}

// simpleRules tells the families that have only the kernel's own rules, so that
// the most specific route of table main wins.
func simpleRules(rules []netstate.Rule) map[netstate.Family]bool {
	simple := map[netstate.Family]bool{netstate.IPv4: true, netstate.IPv6: true}
	for _, r := range rules {
		own := netstate.Rule{Family: r.Family, Priority: r.Priority, Table: r.Table, Action: ruleToTable}
		if r != own || r.Table < netstate.TableDefault || r.Table > netstate.TableLocal {
			simple[r.Family] = false
		}
	}
	return simple
}
