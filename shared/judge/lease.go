package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// What an ok lease proves, by its form, and what it does not.
var (
	checked = map[string][]string{
		"vxlan":     {"device", "route", "lookup plain and from the flannel address", "neighbor", "fdb", "lookup of the public IP"},
		"ipip":      {"device", "route", "lookup plain and from the flannel address", "lookup of the public IP"},
		"udp":       {"device", "route", "lookup plain and from the flannel address", "lookup of the public IP"},
		"wireguard": {"device", "route", "lookup plain and from the flannel address", "wireguard peer", "lookup of the public IP"},
		"host-gw":   {"route", "lookup plain and from the flannel address", "carrier"},
		"direct":    {"route", "lookup plain and from the flannel address", "carrier"},
	}
	unchecked = []string{"firewall", "rules on the input device or a mark", "the path between the nodes", "the peer's own side", "MTU"}
)

func uncheckedOf(form string) []string {
	if form == "udp" {
		return append(slices.Clone(unchecked), "the peers in the memory of flannel's process")
	}
	return unchecked
}

// finding is the outcome for one lease, before its history is added.
type finding struct {
	state   verdict.State
	effect  verdict.Effect
	partial bool
	reason  string
	// present: an accepted route for exactly the subnet is there, or for the
	// whole pod network with a backend that has but one.
	present bool
	form    string // its name
}

// Lease judges one lease: the only judgment of a lease there is. prev is what
// was known of it before; of a new one only Changed and Cause are set.
func Lease(prev *wire.Lease, chain *expect.Chain, e *evidence, now time.Time, opts *Options) *wire.Lease {
	l := &chain.Lease
	p, asked := newPath(chain, e, prev.State)
	found := find(p, chain, e)
	next := &wire.Lease{
		Lease: l.Subnet, Family: l.Family, Peer: l.Peer,
		PublicIP: l.PublicIP, Backend: l.BackendType, VNI: l.VNI, MAC: l.MAC, PublicKey: l.PublicKey,
		Changed: prev.Changed, Completed: prev.Completed || found.state == verdict.OK,
	}
	young := !next.Completed && now.Before(next.Changed.Add(opts.Grace))
	if young && mayPend(found.state, l, e) {
		found.state = verdict.Pending
	}
	next.State, next.Effect, next.Partial = found.state, found.effect, found.partial
	next.Reason, next.RoutePresent = found.reason, found.present
	if found.state == verdict.OK {
		next.Checked, next.Unchecked = checked[found.form], uncheckedOf(found.form)
		return next
	}
	history(next, prev, chain, e, now)
	if asked {
		describe(next, p, opts)
	}
	return next
}

// mayPend: flannel may still be at work. A conflict or another VNI does not
// pass by waiting; a lease that the kernel was not yet asked about does.
func mayPend(s verdict.State, l *lease.Lease, e *evidence) bool {
	switch s {
	case verdict.Conflict, verdict.VNIMismatch:
		return false
	case verdict.Unknown:
		return l.Malformed == "" && e.complete
	}
	return s.Bad()
}

// find tries the states in the order of the vocabulary. p is nil where the
// kernel was not asked.
func find(p *path, chain *expect.Chain, e *evidence) finding {
	l := &chain.Lease
	switch {
	case l.Malformed != "":
		return finding{state: verdict.Unknown, effect: verdict.EffectUnknown, reason: l.Malformed}
	case chain.Unsupported != "":
		return finding{state: verdict.Unsupported, effect: verdict.EffectUnknown, reason: chain.Unsupported}
	case chain.Unknown != "":
		return finding{state: verdict.Unknown, effect: verdict.EffectUnknown, reason: chain.Unknown}
	case !e.complete:
		return finding{state: verdict.Unknown, effect: verdict.EffectUnknown, reason: cmpOr(e.problem, "the kernel was not read yet")}
	case !e.read:
		return finding{state: verdict.Unknown, effect: verdict.EffectUnknown, reason: "the kernel was not yet asked about this lease"}
	}
	f := p.find()
	f.present, f.form = p.present(), p.form.Name
	switch {
	case l.Conflict != "":
		f.state, f.reason = verdict.Conflict, l.Conflict
	case chain.VNIMismatch != "":
		f.state, f.reason = verdict.VNIMismatch, chain.VNIMismatch
		if f.effect == verdict.Delivered {
			f.effect = verdict.Undeliverable
		}
	}
	return f
}

func (p *path) find() finding {
	e, subnet := p.e, p.chain.Lease.Subnet
	onPath := p.onForm(e.out) && p.onForm(e.from)
	f := finding{effect: p.effect()}
	if p.form.Tunnel && (!e.present || !e.device.Up || !e.addressed) {
		return p.linkDown(f)
	}
	if state, ok := p.route(onPath); !ok {
		f.state = state
		switch state {
		case verdict.Missing:
			f.reason = p.cannotInstall()
		case verdict.LinkDown:
			f.reason = "the route's device has no carrier and the kernel skips the route"
		case verdict.Blackholed:
			f.partial = slices.ContainsFunc(e.inside, func(r *netstate.Route) bool { return r.Type.Discards() })
		case verdict.Shadowed:
			f.partial = inside(e.out, subnet) || inside(e.from, subnet)
		}
		return f
	}
	if worst, shadowed := p.shadow(); shadowed {
		return finding{state: verdict.Shadowed, effect: worst, partial: true}
	}
	if state, reason, ok := p.encapsulation(); !ok {
		f.state, f.reason = state, reason
		if state == verdict.Unknown {
			f.effect = verdict.EffectUnknown
		}
		return f
	}
	if reason := p.underlay(); reason != "" {
		f.state, f.reason = verdict.UnderlayDown, reason
		return f
	}
	f.state = verdict.OK
	return f
}

// route holds the routes for the subnet, and what the lookups took, against the
// form. onPath: both lookups took it.
func (p *path) route(onPath bool) (verdict.State, bool) {
	candidates := p.candidates
	best, found := p.best(candidates)
	switch {
	case !onPath && !found:
		return verdict.Missing, false
	case slices.ContainsFunc(candidates, func(r *netstate.Route) bool { return r.Dead && p.isForm(p.form, r) }):
		return verdict.LinkDown, false
	case p.e.out.Discarded() || best.Type.Discards():
		return verdict.Blackholed, false
	case p.diverted(p.e.out) || p.diverted(p.e.from):
		return verdict.Diverted, false
	case !p.present() && !best.Multipath && !p.rightDevice(best.Device): // of several next hops no one is the device
		return verdict.WrongDevice, false
	case !p.present():
		return verdict.WrongGateway, false
	case !onPath:
		return verdict.Shadowed, false
	}
	return "", true
}

func (p *path) rightDevice(device int) bool {
	if p.form.Tunnel {
		return device == p.e.device.Index
	}
	return p.toPeer(device)
}

// cannotInstall says why flannel's route cannot be put in place; "" if it can.
func (p *path) cannotInstall() string {
	under := p.e.underlay.Route
	if p.form.Tunnel || p.form.OnLink || p.e.underlay.Errno != 0 || !under.Gateway.IsValid() {
		return ""
	}
	return fmt.Sprintf("%s needs the peer on this node's own link, but the path to its public IP %s goes through %s",
		p.form.Name, p.chain.Lease.PublicIP, under.Gateway)
}

func (p *path) linkDown(f finding) finding {
	e := p.e
	if !e.anyDevice && !e.ownKnown {
		return finding{
			state: verdict.Unknown, effect: verdict.EffectUnknown,
			reason: "flannel does not run on this node, or not yet: it has neither a lease of its own nor a flannel device",
		}
	}
	if !e.anyDevice && p.leftOver() {
		return finding{
			state: verdict.Unsupported, effect: verdict.EffectUnknown,
			reason: "this node has no flannel device and another network's route for the subnet: the lease looks left over from flannel",
		}
	}
	f.state = verdict.LinkDown
	switch {
	case !e.present && p.chain.VNI != 0:
		f.reason = fmt.Sprintf("%s (VNI %d) is not there", e.deviceName, p.chain.VNI)
	case !e.present:
		f.reason = e.deviceName + " is not there"
	case !e.device.Up:
		f.reason = e.device.Name + " is not up"
	default:
		f.reason = fmt.Sprintf("%s has no %s address", e.device.Name, p.chain.Lease.Family)
	}
	return f
}

// leftOver: the lease looks like what flannel left behind when the cluster moved
// to another network, which routes the subnet now. Not on a node where the lease
// was ever judged: there the device has just gone.
func (p *path) leftOver() bool {
	switch p.was {
	case "", verdict.Unknown, verdict.Unsupported:
		return p.e.out.Errno == 0 && p.e.out.Route.Dst.Bits() >= p.chain.Lease.Subnet.Bits()
	}
	return false
}

var noRoute netstate.Route

// best is the route for exactly the expected destination that wins: the one that
// the kernel answered with, else the one with the lowest metric.
func (p *path) best(candidates []*netstate.Route) (*netstate.Route, bool) {
	for _, l := range [2]*netstate.Lookup{p.e.out, p.e.from} {
		if l.Errno == 0 && l.Route.Dst == p.form.Dst {
			return &l.Route, true
		}
	}
	if len(candidates) == 0 {
		return &noRoute, false
	}
	return slices.MinFunc(candidates, func(a, b *netstate.Route) int { return int(int64(a.Priority) - int64(b.Priority)) }), true
}

// diverted: a rule other than the kernel's three sent the packet elsewhere. A
// lookup that fails although the route is right can only be a rule's doing.
func (p *path) diverted(l *netstate.Lookup) bool {
	if p.onForm(l) {
		return false
	}
	if l.Errno != 0 {
		return p.present()
	}
	switch l.Route.Table {
	case netstate.TableLocal, netstate.TableMain, netstate.TableDefault:
		return false
	}
	return true
}

// shadow returns the worst effect of the more specific routes that lead elsewhere.
func (p *path) shadow() (verdict.Effect, bool) {
	worst, shadowed := verdict.Delivered, false
	for _, l := range p.e.paths {
		if p.onForm(l) {
			continue
		}
		shadowed = true
		worst = worse(worst, p.effectOf(l))
	}
	return worst, shadowed
}

// encapsulation holds what the tunnel needs beside the route against the lease:
// neighbor and FDB entry, or the WireGuard peer.
func (p *path) encapsulation() (state verdict.State, reason string, ok bool) {
	if p.form.Peer != nil {
		return p.peer()
	}
	if p.form.NeighborMAC.IsZero() {
		return "", "", true
	}
	switch n := p.e.neighbor; {
	case !p.e.hasNeighbor || !n.Permanent() && n.MAC != p.form.NeighborMAC:
		return verdict.NeighborMissing, "", false
	case n.MAC != p.form.NeighborMAC || !n.Permanent():
		return verdict.NeighborWrong, "", false
	}
	if len(p.e.fdb) == 0 {
		return verdict.FDBMissing, "", false
	}
	if !slices.ContainsFunc(p.e.fdb, p.rightFDB) {
		return verdict.FDBWrong, "", false
	}
	return "", "", true
}

func (p *path) rightFDB(f netstate.FDBEntry) bool {
	d := p.e.device.VXLAN
	return f.Dst == p.form.FDBDst && (f.VNI == 0 || f.VNI == d.VNI) && (f.Port == 0 || f.Port == d.Port)
}

// underlay says what is wrong with the node's own path to the peer, "" if nothing is.
func (p *path) underlay() string {
	u, ip := p.e.underlay, p.chain.Lease.PublicIP
	out := p.outward()
	if !p.form.Tunnel && out.Index != 0 && out.Index != u.Route.Device || !p.form.Tunnel && u.Errno != 0 {
		// The route itself says where packets go; what the lookup of the public IP takes is another matter.
		return noCarrier(out, ip)
	}
	switch {
	case u.Errno != 0:
		return fmt.Sprintf("no path to the peer's public IP %s: %s", ip, errnoText(u.Errno))
	case u.Route.Type != netstate.Unicast:
		return fmt.Sprintf("the peer's public IP %s is %s on this node", ip, u.Route.Type)
	case p.e.isFlannel(u.Route.Device):
		return fmt.Sprintf("the path to the peer's public IP %s loops into %s", ip, p.e.state.LinkName(u.Route.Device))
	case u.Route.Multipath && (u.Route.Dead || u.Route.LinkDown): // every hop is
		return fmt.Sprintf("no next hop to the peer's public IP %s has a carrier", ip)
	case !u.Route.Multipath:
		return noCarrier(p.e.lower, ip)
	}
	return ""
}

func noCarrier(link netstate.Link, ip netip.Addr) string {
	if link.LowerUp {
		return ""
	}
	return fmt.Sprintf("%s, the device to the peer's public IP %s, has no carrier", cmpOr(link.Name, "the device"), ip)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
