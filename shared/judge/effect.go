package judge

import (
	"net/netip"
	"slices"

	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
)

// effect is what happens to a packet to the subnet now: the worse of O and F.
func (p *path) effect() verdict.Effect { return worse(p.effectOf(p.e.out), p.effectOf(p.e.from)) }

func (p *path) effectOf(l *netstate.Lookup) verdict.Effect {
	switch l.Errno {
	case 0:
	case netstate.ErrnoBlackhole:
		return verdict.EffectBlackhole
	case netstate.ErrnoNoRoute, netstate.ErrnoUnreachable, netstate.ErrnoProhibit:
		return verdict.Unreachable
	default:
		return verdict.EffectUnknown
	}
	r := l.Route
	switch {
	case r.Type == netstate.Local || r.Type == netstate.Broadcast || r.Type == netstate.Anycast:
		return verdict.EffectLocal
	case p.onForm(l):
		if p.delivers() {
			return verdict.Delivered
		}
		return verdict.Undeliverable
	case r.Dst.Bits() < p.chain.Lease.Subnet.Bits() && !p.e.isFlannel(r.Device):
		return verdict.Leaking
	}
	return verdict.EffectDiverted
}

// delivers: what takes the right route is encapsulated and sent. A neighbor
// that is right but not permanent serves for the moment.
func (p *path) delivers() bool {
	if p.underlay() != "" {
		return false
	}
	switch {
	case !p.form.Tunnel:
		return true
	case !p.e.device.Up:
		return false
	case p.form.Peer != nil:
		_, _, ok := p.peer()
		return ok
	case p.form.NeighborMAC.IsZero():
		return true
	}
	return p.e.hasNeighbor && p.e.neighbor.Usable() && p.e.neighbor.MAC == p.form.NeighborMAC &&
		slices.ContainsFunc(p.e.fdb, p.rightFDB)
}

// inside reports whether the lookup matched a true part of the subnet.
func inside(l *netstate.Lookup, subnet netip.Prefix) bool {
	return l.Errno == 0 && l.Route.Dst.Bits() > subnet.Bits()
}

func worse(a, b verdict.Effect) verdict.Effect {
	if b.Rank() < a.Rank() {
		return b
	}
	return a
}
