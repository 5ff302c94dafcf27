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
func history(next *wire.Lease, prev wire.Lease, chain expect.Chain, e *evidence, now time.Time) {
	next.Since = prev.Since
	if next.State == verdict.Unknown || next.State == verdict.Unsupported {
		if next.Since.IsZero() {
			next.Since = now
		}
		return
	}
	next.Cause, next.Actor, next.Incident = prev.Cause, prev.Actor, prev.Incident
	if next.Cause == "" {
		next.Cause = verdict.CauseUnknown
	}
	at := now
	if next.State != prev.State || !prev.State.Bad() {
		if h, cause, ok := explain(next.State, chain, e); ok {
			next.Cause, next.Actor, at = cause, actorOf(h), h.At
		}
	}
	if next.Since.IsZero() {
		next.Since = at
	}
}

// explain finds the first event that can have led to the state.
func explain(state verdict.State, chain expect.Chain, e *evidence) (netstate.Hint, verdict.Cause, bool) {
	if state == verdict.Pending {
		return netstate.Hint{}, "", false
	}
	for _, h := range e.state.Hints {
		if cause, ok := explains(h, state, chain, e); ok {
			return h, cause, true
		}
	}
	return netstate.Hint{}, "", false
}

func explains(h netstate.Hint, state verdict.State, chain expect.Chain, e *evidence) (verdict.Cause, bool) {
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
	return routeEvent(h, chain, e)
}

// deviceEvent: what happens to a device takes routes and neighbors with it.
func deviceEvent(h netstate.Hint, chain expect.Chain, e *evidence) (verdict.Cause, bool) {
	name := expect.DeviceName(chain.Lease.Family, chain.VNI)
	if e.present {
		name = e.device.Name
	}
	if h.Device != name && (h.Index == 0 || h.Index != e.device.Index) {
		return "", false
	}
	switch {
	case h.Kind == netstate.LinkDeleted:
		return verdict.LinkDeleted, true
	case h.Kind == netstate.LinkChanged && !h.Up:
		return verdict.CauseLinkDown, true
	case h.Kind == netstate.LinkMACChanged:
		return verdict.MACChanged, true
	case h.Kind == netstate.AddrDeleted:
		return verdict.AddressRemoved, true
	}
	return "", false
}

func routeEvent(h netstate.Hint, chain expect.Chain, e *evidence) (verdict.Cause, bool) {
	subnet := chain.Lease.Subnet
	switch h.Kind {
	case netstate.RuleAdded, netstate.RuleDeleted:
		return verdict.RuleChanged, true
	case netstate.NextHopDeleted, netstate.NextHopChanged:
		return verdict.NextHopRemoved, true
	case netstate.RouteDeleted:
		if h.Prefix != subnet {
			return "", false
		}
		if h.PortID == 0 {
			return consequence(h, e), true
		}
		return verdict.Deleted, true
	case netstate.RouteAdded, netstate.RouteReplaced:
		return verdict.Replaced, h.Prefix.IsValid() && h.Prefix.Overlaps(subnet)
	case netstate.AddrAdded:
		return verdict.Replaced, h.Prefix.IsValid() && subnet.Contains(h.Prefix.Addr())
	}
	return "", false
}

// consequence names why the kernel itself deleted a route. What it follows from
// may be told after it: with IPv6 switched off on a device the addresses go last.
func consequence(h netstate.Hint, e *evidence) verdict.Cause {
	for _, other := range e.state.Hints {
		if other.Family != 0 && other.Family != h.Family {
			continue
		}
		switch other.Kind {
		case netstate.AddrDeleted:
			return verdict.AddressRemoved
		case netstate.NetConfChanged:
			return verdict.SysctlChanged
		}
	}
	if h.Family == netstate.IPv6 {
		return verdict.Expired
	}
	return verdict.CauseUnknown
}

func neighborEvent(h netstate.Hint, chain expect.Chain) (verdict.Cause, bool) {
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
func fdbEvent(h netstate.Hint, chain expect.Chain, e *evidence) (verdict.Cause, bool) {
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

func touchesUnderlay(h netstate.Hint, chain expect.Chain, e *evidence) bool {
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
func actorOf(h netstate.Hint) *wire.Actor {
	switch h.Kind {
	case netstate.LinkChanged, netstate.LinkMACChanged, netstate.LinkDeleted, netstate.FDBChanged, netstate.FDBDeleted:
		return &wire.Actor{Kind: verdict.ActorUnknown}
	}
	if h.PortID == 0 {
		return &wire.Actor{Kind: verdict.ActorKernel}
	}
	return &wire.Actor{Kind: verdict.ActorProcess, PortID: h.PortID}
}
