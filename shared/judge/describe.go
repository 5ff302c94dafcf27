package judge

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// describe adds what a person needs: expected, actual, where a packet goes
// now, and what to type.
func describe(w *wire.Lease, p *path, opts *Options) {
	e := p.e
	w.Expected = p.expected()
	w.Actual = p.actual()
	w.Lookup = lookupText(e, e.out)
	if *e.from != *e.out && !p.onForm(e.from) && p.onForm(e.out) {
		w.Lookup = lookupText(e, e.from)
	}
	if w.State.Bad() {
		w.Advice = advice(w.State, p, opts)
	}
}

func (p *path) deviceName() string {
	if !p.form.Tunnel {
		return p.outward().Name
	}
	return p.e.deviceName
}

func (p *path) expected() []string {
	dev := p.deviceName()
	route := "the pod network dev " + dev
	if p.form.Dst.IsValid() {
		route = mend.RouteText(p.wanted())
	}
	s := append(make([]string, 0, 3), route)
	if !p.form.NeighborMAC.IsZero() {
		s = append(s,
			mend.NeighborText(p.form.Gateway, p.form.NeighborMAC, dev, netstate.NUDPermanent),
			mend.FDBText(p.form.NeighborMAC, dev, p.form.FDBDst))
	}
	if want := p.form.Peer; want != nil {
		var endpoints []string
		for _, a := range want.Endpoints {
			if want.Port == 0 {
				endpoints = append(endpoints, a.String())
			} else {
				endpoints = append(endpoints, netip.AddrPortFrom(a, want.Port).String())
			}
		}
		s = append(s, peerText(dev, want.PublicKey, endpoints, []netip.Prefix{p.chain.Lease.Subnet}))
	}
	return s
}

// wanted is the step that puts the expected route in place.
func (p *path) wanted() mend.Step {
	return mend.Step{
		Verb: mend.RouteReplace, Type: netstate.Unicast, Prefix: p.form.Dst,
		Gateway: p.form.Gateway, Device: p.deviceName(), OnLink: p.form.OnLink,
	}
}

func (p *path) actual() []string {
	e := p.e
	s := make([]string, 0, len(e.exact)+len(e.inside)+3)
	for _, routes := range [2][]*netstate.Route{e.exact, e.inside} {
		for _, r := range routes {
			s = append(s, mend.RouteText(p.step(mend.RouteDelete, r)))
		}
	}
	switch {
	case len(e.exact) > 0:
	case p.form.Wide:
		s = append(s, "no route for the pod network"+suffix(" ", p.form.Dst))
	default:
		s = append(s, "no route for exactly "+p.chain.Lease.Subnet.String())
	}
	switch {
	case !p.form.NeighborMAC.IsZero():
		s = p.actualVTEP(s)
	case p.form.Peer != nil:
		s = append(s, p.actualPeer())
	}
	return s
}

func suffix(before string, p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return before + p.String()
}

func (p *path) actualVTEP(s []string) []string {
	e := p.e
	if e.hasNeighbor {
		s = append(s, mend.NeighborText(e.neighbor.IP, e.neighbor.MAC, p.deviceName(), e.neighbor.State))
	} else {
		s = append(s, "no neighbor "+p.form.Gateway.String()+" dev "+p.deviceName())
	}
	for _, f := range e.fdb {
		s = append(s, mend.FDBText(f.MAC, p.deviceName(), f.Dst))
	}
	if len(e.fdb) == 0 {
		s = append(s, "no FDB entry "+p.form.NeighborMAC.String()+" dev "+p.deviceName())
	}
	return s
}

func (p *path) actualPeer() string {
	key := p.form.Peer.PublicKey
	peer, there := p.e.peers.byKey[key]
	switch {
	case !p.e.peers.read || p.e.peers.problem != "":
		return "WireGuard peers of " + p.deviceName() + " not read"
	case !there:
		return fmt.Sprintf("no WireGuard peer %s dev %s", key, p.deviceName())
	}
	return peerText(p.deviceName(), key, []string{endpointText(peer.Endpoint)}, peer.AllowedIPs)
}

// step names an existing route.
func (p *path) step(v mend.Verb, r *netstate.Route) mend.Step {
	s := mend.Step{Verb: v, Type: r.Type, Prefix: r.Dst, Table: r.Table, Priority: r.Priority}
	// A route with several next hops or a next-hop object is named by its key alone.
	if !r.Multipath && r.NextHopID == 0 {
		s.Gateway, s.OnLink = r.Gateway, r.OnLink
		if !r.Type.Discards() {
			s.Device = p.e.state.LinkName(r.Device)
		}
	}
	return s
}

// lookupText tells what the kernel would do with a packet, as ip route get does.
func lookupText(e *evidence, l *netstate.Lookup) string {
	var room [128]byte
	b := append(room[:0], l.Query.Dst.String()...)
	if l.Query.Src.IsValid() {
		b = l.Query.Src.AppendTo(append(b, " from "...))
	}
	if l.Errno != 0 {
		return string(append(append(b, ": "...), errnoText(l.Errno)...))
	}
	r := &l.Route
	if r.Type != netstate.Unicast {
		return string(appendMatched(append(append(append(b, " is "...), r.Type.String()...), " by "...), r))
	}
	if r.Gateway.IsValid() {
		b = r.Gateway.AppendTo(append(b, " via "...))
	}
	b = append(append(b, " dev "...), cmpOr(e.state.LinkName(r.Device), "of index "+strconv.Itoa(r.Device))...)
	return string(appendMatched(append(b, " by "...), r))
}

func appendMatched(b []byte, r *netstate.Route) []byte {
	if r.Dst.Bits() == 0 {
		b = append(b, "the default route"...)
	} else {
		b = append(append(b, "route "...), r.Dst.String()...)
	}
	switch r.Table {
	case netstate.TableMain, netstate.TableLocal, netstate.TableDefault:
		return b
	}
	return strconv.AppendUint(append(b, " of table "...), uint64(r.Table), 10)
}

func errnoText(errno int) string {
	switch errno {
	case netstate.ErrnoNoRoute:
		return "network is unreachable (no route)"
	case netstate.ErrnoUnreachable:
		return "host is unreachable (unreachable route or rule)"
	case netstate.ErrnoProhibit:
		return "prohibited (prohibit route or rule)"
	case netstate.ErrnoBlackhole:
		return "discarded (blackhole route or rule)"
	}
	return "the kernel answers error " + strconv.Itoa(errno)
}

// advice is what to type: the single objects first, then flannel's restart
// where that would help.
func advice(state verdict.State, p *path, opts *Options) []wire.Advice {
	steps := p.steps(state, opts)
	out := make([]wire.Advice, 0, len(steps)+1)
	for i := range steps {
		s := &steps[i]
		out = append(out, wire.Advice{Command: s.String()})
	}
	switch state {
	case verdict.Shadowed, verdict.Diverted:
	case verdict.UnderlayDown:
		out = append(out, wire.Advice(mend.ShowUnderlay(p.chain.Lease.PublicIP)))
	case verdict.Conflict, verdict.VNIMismatch:
		out = append(out, wire.Advice(opts.ShowLeases))
	case verdict.Blackholed:
		if !p.byRule() {
			out = append(out, p.restart(opts))
		}
	default:
		if state == verdict.Missing && p.cannotInstall() != "" {
			out = append(out, wire.Advice(mend.ShowUnderlay(p.chain.Lease.PublicIP)))
			break
		}
		out = append(out, p.restart(opts))
	}
	if len(out) == 0 {
		out = append(out, wire.Advice(mend.ShowRules(p.chain.Lease.Family == netstate.IPv6)))
	}
	return out
}

func (p *path) restart(opts *Options) wire.Advice {
	if p.e.restart.Command == "" {
		p.e.restart = wire.Advice(mend.RestartFlannel(opts.Node, p.e.leasesOf))
	}
	return p.e.restart
}

// byRule: packets are discarded although no route does that.
func (p *path) byRule() bool {
	discards := func(r *netstate.Route) bool { return r.Type.Discards() }
	return !slices.ContainsFunc(p.e.exact, discards) && !slices.ContainsFunc(p.e.inside, discards)
}

// steps are the changes that make this lease's chain right, in the order in
// which they work.
func (p *path) steps(state verdict.State, opts *Options) []mend.Step {
	switch state {
	case verdict.Conflict, verdict.VNIMismatch, verdict.UnderlayDown:
		return nil
	case verdict.Diverted:
		return p.addRoute(p.rule(opts))
	}
	e, l := p.e, p.chain.Lease
	if p.form.Tunnel && !e.present {
		return nil // only flannel makes its device
	}
	steps := slices.Grow(p.removals(), 3)
	if !p.consulted(netstate.TableMain) {
		steps = append(steps, mend.Step{Verb: mend.RuleAdd, Prefix: everything(l.Family), Priority: mainRule})
	}
	if !p.form.Tunnel {
		return p.addRoute(steps)
	}
	dev := p.deviceName()
	if !e.device.Up {
		steps = append(steps, mend.Step{Verb: mend.LinkUp, Device: dev})
	}
	if !e.addressed && e.own.IsValid() {
		steps = append(steps, mend.Step{Verb: mend.AddressReplace, Prefix: netip.PrefixFrom(e.own, l.Family.Bits()), Device: dev})
	}
	steps = p.addRoute(steps)
	if vtep := p.form.NeighborMAC; !vtep.IsZero() {
		if !e.hasNeighbor || !e.neighbor.Permanent() || e.neighbor.MAC != vtep {
			steps = append(steps, mend.Step{Verb: mend.NeighborReplace, IP: p.form.Gateway, MAC: vtep, Device: dev})
		}
		if !slices.ContainsFunc(e.fdb, p.rightFDB) {
			steps = append(steps, mend.Step{Verb: mend.FDBReplace, MAC: vtep, Device: dev, Dst: p.form.FDBDst})
		}
	}
	if state == verdict.Blackholed && p.byRule() {
		steps = append(steps, p.rule(opts)...)
	}
	return steps
}

func (p *path) addRoute(steps []mend.Step) []mend.Step {
	there := p.candidates
	if !p.consulted(netstate.TableMain) {
		there = p.e.exact // it is in main, where packets will meet it once a rule leads there
	}
	if slices.ContainsFunc(there, func(r *netstate.Route) bool { return p.isForm(p.form, r) }) {
		return steps
	}
	if !p.form.Dst.IsValid() || p.cannotInstall() != "" {
		return steps
	}
	return append(steps, p.wanted())
}

func everything(f netstate.Family) netip.Prefix {
	if f == netstate.IPv6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// mainRule is the priority of the kernel's own rule for table main.
const mainRule = 32766

// removals are the deletions of what stands in front of the expected route: a
// more specific route that leads elsewhere, or one for the subnet that wins. A
// route for the subnet is only deleted where a replace would not take its place.
func (p *path) removals() []mend.Step {
	var steps []mend.Step
	for _, r := range p.e.inside {
		if p.isForm(p.form, r) || r.Table == netstate.TableLocal && r.Type != netstate.Local {
			continue
		}
		if r.Type == netstate.Local {
			steps = append(steps, mend.Step{Verb: mend.AddressDelete, Prefix: p.addressOf(r), Device: p.e.state.LinkName(r.Device)})
			continue
		}
		steps = append(steps, p.step(mend.RouteDelete, r))
	}
	if best, ok := p.best(p.candidates); ok && !p.isForm(p.form, best) &&
		(best.Type.Discards() || p.present() || best.Priority < defaultPriority(best.Dst)) {
		steps = append(steps, p.step(mend.RouteDelete, best))
	}
	return steps
}

// defaultPriority is the metric of a route that is added without one
// (IP6_RT_PRIO_USER for IPv6); a lower one wins over it.
func defaultPriority(dst netip.Prefix) uint32 {
	if netstate.FamilyOf(dst.Addr()) == netstate.IPv6 {
		return 1024
	}
	return 0
}

// addressOf finds the address whose local route r is.
func (p *path) addressOf(r *netstate.Route) netip.Prefix {
	for a := range p.e.state.AddrsOf(r.Device) {
		if a.Addr() == r.Dst.Addr() {
			return a
		}
	}
	return r.Dst
}

// rule puts a rule for the pod network in front of the one that diverts.
func (p *path) rule(opts *Options) []mend.Step {
	off := p.e.out
	if p.onForm(off) {
		off = p.e.from
	}
	return ruleAhead(p.e.state, off, p.network(opts))
}

// ruleAhead sends packets for dst to table main, ahead of the rule that led to
// the answer. That rule itself may be another program's, so it is not deleted.
func ruleAhead(s *netstate.State, off *netstate.Lookup, dst netip.Prefix) []mend.Step {
	for _, r := range s.Rules {
		if r.Family != netstate.FamilyOf(dst.Addr()) || !selects(r, off) {
			continue
		}
		if r.Priority < 2 {
			return nil // nothing can be put between it and the kernel's own first rule
		}
		return []mend.Step{{Verb: mend.RuleAdd, Prefix: dst, Priority: r.Priority - 1}}
	}
	return nil
}

// network is the pod network that holds the subnet, or the subnet alone where
// that is not known.
func (p *path) network(opts *Options) netip.Prefix {
	if n, ok := opts.Flannel.NetworkOf(p.chain.Lease.Subnet); ok {
		return n
	}
	return p.chain.Lease.Subnet
}

// selects reports whether the rule can have led to the answer.
func selects(r netstate.Rule, l *netstate.Lookup) bool {
	toTable := r.Action == frActToTable
	switch {
	case r.Table == netstate.TableLocal || r.Table == netstate.TableMain || r.Table == netstate.TableDefault:
		return false
	case l.Errno == 0 && (!toTable || r.Table != l.Route.Table):
		return false
	case l.Errno == netstate.ErrnoBlackhole && !toTable && r.Action != frActBlackhole:
		return false
	}
	return (!r.Dst.IsValid() || r.Dst.Contains(l.Query.Dst) != r.Invert) &&
		(!r.Src.IsValid() || l.Query.Src.IsValid() && r.Src.Contains(l.Query.Src) != r.Invert)
}

// FR_ACT_* of linux/fib_rules.h.
const (
	frActToTable   = 1
	frActBlackhole = 6
)
