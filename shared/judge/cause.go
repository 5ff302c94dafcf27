package judge

import (
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// history adds what the objects alone do not tell: since when, why, by whom.
// A cause that is known stays while the lease is bad, unless the state changes
// and the events since then explain the new one: after a flap and the return
// of the routes alone, the missing neighbor is still the flap's.
func history(next, prev *wire.Lease, chain *expect.Chain, e *evidence, now time.Time) {
	next.Since = prev.Since
	if next.State == verdict.Unknown || next.State == verdict.Unsupported {
		if next.Since.IsZero() {
			next.Since = now
		}
		if prev.Incident != "" && next.State == verdict.Unknown { // it goes on where it was when the lease is known again
			next.Cause, next.Actor, next.Incident = prev.Cause, prev.Actor, prev.Incident
			next.CauseDevice = prev.CauseDevice
		}
		return
	}
	next.Cause, next.Actor, next.Incident = prev.Cause, prev.Actor, prev.Incident
	next.CauseDevice = prev.CauseDevice
	if next.Cause == "" {
		next.Cause = verdict.CauseUnknown
	}
	at := now
	// What was never judged before may have been so for long.
	first := prev.State == "" || prev.State == verdict.Unknown && !prev.Completed
	if !first && (next.State != prev.State || !prev.State.Bad()) {
		if h, cause, ok := explain(next.State, chain, e); ok {
			next.Cause, next.Actor, at = cause, actorOf(h), h.At
			next.CauseDevice = deviceOfCause(h, cause, e)
		}
	}
	if next.Since.IsZero() {
		next.Since = at
	}
}

// deviceOfCause names the device that something happened to, where it was one.
func deviceOfCause(h *netstate.Hint, cause verdict.Cause, e *evidence) string {
	switch cause {
	case verdict.CauseLinkDown, verdict.LinkDeleted, verdict.AddressRemoved, verdict.MACChanged, verdict.SysctlChanged:
		return cmpOr(h.Device, e.state.LinkName(h.Index))
	}
	return ""
}

// explain finds the first event that can have led to the state.
func explain(state verdict.State, chain *expect.Chain, e *evidence) (*netstate.Hint, verdict.Cause, bool) {
	if state == verdict.Pending || len(e.hints.events) == 0 {
		return nil, "", false
	}
	e.hints.prepare()
	l := &chain.Lease
	q := question{
		state: state, family: l.Family, device: e.device.Index, deviceName: e.deviceName,
		well: e.present && e.device.Up && e.addressed,
	}
	for _, ask := range []func(*netstate.Hint, verdict.State, *expect.Chain, *evidence) (verdict.Cause, bool){explains, silently} {
		answers := func(h *netstate.Hint) bool { _, ok := ask(h, state, chain, e); return ok }
		for _, i := range e.hints.candidates(q, l, answers) {
			h := e.hints.all[i]
			if cause, ok := ask(h, state, chain, e); ok {
				return h, cause, true
			}
		}
		q.silently = true
	}
	return nil, "", false
}

// silently: where no event tells of the lease's own objects, a route went or
// died with another device than flannel's: that of a direct route, or of one leg
// of a multipath route. The kernel does not announce that for IPv4.
func silently(h *netstate.Hint, state verdict.State, chain *expect.Chain, e *evidence) (verdict.Cause, bool) {
	if h.Family != 0 && h.Family != chain.Lease.Family {
		return "", false
	}
	switch state {
	case verdict.Missing:
		return taken(h, e)
	case verdict.LinkDown:
		deviceIsWell := e.present && e.device.Up && e.addressed
		return verdict.UnderlayChanged, deviceIsWell && touchesUnderlay(h, chain, e)
	}
	return "", false
}

// taken: what a device loses takes routes with it. A device that is deleted is
// set down first, and both is told.
func taken(h *netstate.Hint, e *evidence) (verdict.Cause, bool) {
	switch h.Kind {
	case netstate.LinkDeleted, netstate.LinkChanged, netstate.AddrDeleted:
	default:
		return "", false
	}
	if e.hints.linkDeleted[h.Index] {
		return verdict.LinkDeleted, true
	}
	if h.Kind == netstate.LinkChanged {
		return verdict.CauseLinkDown, !h.Up
	}
	return verdict.AddressRemoved, true
}

func explains(h *netstate.Hint, state verdict.State, chain *expect.Chain, e *evidence) (verdict.Cause, bool) {
	if h.Family != 0 && h.Family != chain.Lease.Family {
		return "", false
	}
	if state == verdict.UnderlayDown {
		return verdict.UnderlayChanged, touchesUnderlay(h, chain, e)
	}
	if cause, ok := deviceEvent(h, chain, e); ok {
		return cause, state != verdict.Diverted && state != verdict.Shadowed
	}
	switch state {
	case verdict.NeighborMissing, verdict.NeighborWrong:
		return neighborEvent(h, chain)
	case verdict.FDBMissing, verdict.FDBWrong:
		return fdbEvent(h, chain, e)
	}
	cause, ok := routeEvent(h, chain, e)
	// Nothing that is put somewhere makes a route go.
	return cause, ok && (cause != verdict.Replaced || state != verdict.Missing)
}

// deviceEvent: what happens to a device takes routes and neighbors with it.
func deviceEvent(h *netstate.Hint, chain *expect.Chain, e *evidence) (verdict.Cause, bool) {
	if (e.deviceName == "" || h.Device != e.deviceName) && (h.Index == 0 || h.Index != e.device.Index) {
		return "", false
	}
	if h.Kind == netstate.LinkMACChanged {
		return verdict.MACChanged, true
	}
	cause, ok := taken(h, e)
	if cause == verdict.AddressRemoved && switchedOff(h.Index, chain, e) {
		cause = verdict.SysctlChanged
	}
	return cause, ok
}

// switchedOff: only disable_ipv6 takes addresses and routes of a device and
// leaves the device as it was. An IPv6 route survives the last address.
func switchedOff(device int, chain *expect.Chain, e *evidence) bool {
	return chain.Lease.Family == netstate.IPv6 && e.hints.flushed[chain.Lease.Subnet] &&
		e.hints.addrDeleted[device] && !e.hints.linkChanged[device]
}

func routeEvent(h *netstate.Hint, chain *expect.Chain, e *evidence) (verdict.Cause, bool) {
	subnet := chain.Lease.Subnet
	switch h.Kind {
	case netstate.RuleAdded, netstate.RuleDeleted:
		return verdict.RuleChanged, true
	case netstate.NextHopDeleted:
		return verdict.NextHopRemoved, true
	case netstate.NextHopChanged:
		return verdict.Replaced, true
	case netstate.RouteDeleted:
		if h.Prefix != subnet && !wideRoute(h, chain, e) {
			return "", false
		}
		if h.PortID == 0 {
			return consequence(h, chain, e), true
		}
		return verdict.Deleted, true
	case netstate.RouteAdded, netstate.RouteReplaced:
		return verdict.Replaced, h.Prefix.IsValid() && h.Prefix.Overlaps(subnet)
	case netstate.AddrAdded:
		return verdict.Replaced, h.Prefix.IsValid() && subnet.Contains(h.Prefix.Addr())
	}
	return "", false
}

// wideRoute: with the backends that have one route for the whole pod network the
// event is of that one.
func wideRoute(h *netstate.Hint, chain *expect.Chain, e *evidence) bool {
	form := chain.Forms[0]
	if form.Dst.IsValid() {
		return form.Wide && h.Prefix == form.Dst
	}
	return form.Wide && h.Prefix.Bits() > 0 && covers(h.Prefix, chain.Lease.Subnet) && h.Device == e.deviceName
}

// consequence names why the kernel itself deleted a route. What it follows from
// may be told after it: with IPv6 switched off on a device the addresses go last.
func consequence(h *netstate.Hint, chain *expect.Chain, e *evidence) verdict.Cause {
	if switchedOff(h.Index, chain, e) {
		return verdict.SysctlChanged
	}
	cause, known := e.hints.reasons[h.Family]
	if !known {
		cause = reason(h.Family, e)
		e.hints.reasons[h.Family] = cause
	}
	return cause
}

// reason is what the first event of a family that takes routes with it tells.
func reason(family netstate.Family, e *evidence) verdict.Cause {
	for _, h := range e.hints.all {
		if h.Family != 0 && h.Family != family {
			continue
		}
		if cause, ok := taken(h, e); ok {
			return cause
		}
		if h.Kind == netstate.NetConfChanged {
			return verdict.SysctlChanged
		}
	}
	if family == netstate.IPv6 {
		return verdict.Expired
	}
	return verdict.CauseUnknown
}

func neighborEvent(h *netstate.Hint, chain *expect.Chain) (verdict.Cause, bool) {
	if h.Prefix.Addr() != chain.Lease.Subnet.Addr() {
		return "", false
	}
	switch h.Kind {
	case netstate.NeighborDeleted:
		return verdict.Deleted, true
	case netstate.NeighborChanged:
		return verdict.Replaced, true
	}
	return "", false
}

// fdbEvent: the message names the tunnel endpoint, which is the old one when an
// entry was changed, so the device alone must do then.
func fdbEvent(h *netstate.Hint, chain *expect.Chain, e *evidence) (verdict.Cause, bool) {
	if h.Index != e.device.Index {
		return "", false
	}
	switch h.Kind {
	case netstate.FDBDeleted:
		return verdict.Deleted, !h.Prefix.IsValid() || h.Prefix.Addr() == chain.Lease.PublicIP
	case netstate.FDBChanged:
		return verdict.Replaced, true
	}
	return "", false
}

func touchesUnderlay(h *netstate.Hint, chain *expect.Chain, e *evidence) bool {
	switch h.Kind {
	case netstate.LinkChanged, netstate.LinkDeleted, netstate.AddrDeleted:
		return !e.isFlannel(h.Index)
	case netstate.RouteAdded, netstate.RouteReplaced, netstate.RouteDeleted:
		return h.Prefix.IsValid() && h.Prefix.Contains(chain.Lease.PublicIP)
	case netstate.RuleAdded, netstate.RuleDeleted, netstate.AddrAdded:
		return true
	}
	return false
}

// actorOf says who asked for a change. Link and FDB messages never carry the
// requester, so nothing can be said about those.
func actorOf(h *netstate.Hint) *wire.Actor {
	switch h.Kind {
	case netstate.LinkChanged, netstate.LinkMACChanged, netstate.LinkDeleted, netstate.FDBChanged, netstate.FDBDeleted:
		return &wire.Actor{Kind: verdict.ActorUnknown}
	}
	if h.PortID == 0 {
		return &wire.Actor{Kind: verdict.ActorKernel}
	}
	p := h.Process
	return &wire.Actor{Kind: verdict.ActorProcess, PortID: h.PortID, PID: p.PID, Comm: p.Comm, How: p.How}
}
