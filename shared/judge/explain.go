package judge

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/verdict"
	"routewatch/shared/wire"
)

// Live is what the kernel answered to ExplainQueries now.
type Live struct {
	Lookups []netstate.Lookup
	// Problem says why there is no answer; "" if there is.
	Problem string
}

// ExplainQueries are the questions to the kernel that explain an address: as a
// process of the node sends to it, and as from the node's own flannel address.
func ExplainQueries(opts Options, s *wire.Snapshot, in Input, address netip.Addr) []netstate.Query {
	x := newExplainer(opts, s, in, address)
	queries := []netstate.Query{{Dst: address}}
	if source := x.view.source[netstate.FamilyOf(address)]; source.IsValid() {
		queries = append(queries, netstate.Query{Dst: address, Src: source})
	}
	return queries
}

// Explain says what is known of an address: whose it is, what it needs, and
// what the kernel does with a packet to it. s was judged of in.
func Explain(opts Options, s *wire.Snapshot, in Input, address netip.Addr, live Live) wire.Explanation {
	x := newExplainer(opts, s, in, address)
	x.out = wire.Explanation{
		APIVersion: wire.APIVersion, Kind: wire.KindExplain, Node: s.Node, Time: s.Time, Complete: s.Complete,
		Address: address, Family: netstate.FamilyOf(address),
		Lookups: []wire.ExplainedLookup{}, Incidents: []wire.Incident{}, NodeProblems: []wire.NodeProblem{},
	}
	x.place()
	x.lookups(live)
	for _, p := range s.NodeProblems {
		if p.Family == 0 || p.Family == x.out.Family {
			x.out.NodeProblems = append(x.out.NodeProblems, p)
		}
	}
	if !s.Complete {
		x.out.Answer += "; not everything is known now, see the sources in /api/v1/status"
	}
	return x.out
}

type explainer struct {
	opts    Options
	s       *wire.Snapshot
	set     *lease.Set
	state   *netstate.State
	view    view
	address netip.Addr
	path    *path // of the lease, if its chain is known
	out     wire.Explanation
}

func newExplainer(opts Options, s *wire.Snapshot, in Input, address netip.Addr) *explainer {
	opts.Flannel.Backend = s.Backend
	x := &explainer{opts: opts, s: s, set: in.Set, state: in.State, address: address}
	if x.set == nil {
		x.set = &lease.Set{}
	}
	if x.state == nil {
		x.state = &netstate.State{}
	}
	x.view = newView(opts.Flannel, x.set, x.state, peerVNIs(x.set))
	return x
}

// place says whose the address is.
func (x *explainer) place() {
	if !x.s.LeasesRead {
		x.out.Place = wire.PlaceUnknown
		x.out.Answer = fmt.Sprintf("nothing can be said of %s: the leases were not read yet", x.address)
		return
	}
	for _, own := range x.s.Own {
		switch {
		case own.Lease.Contains(x.address):
			x.out.Place, x.out.Own = wire.PlaceOwn, &own
			x.out.Answer = fmt.Sprintf("%s is in this node's own subnet %s: its pods are reached without flannel", x.address, own.Lease)
			return
		case own.PublicIP == x.address:
			x.out.Place, x.out.Own = wire.PlaceUnder, &own
			x.out.Answer = fmt.Sprintf("%s is this node's own public IP: other nodes send flannel's packets to it", x.address)
			return
		}
	}
	if l, ok := x.holder(); ok {
		x.lease(l)
		return
	}
	i := slices.IndexFunc(x.s.Leases, func(l *wire.Lease) bool { return l.PublicIP == x.address })
	if i >= 0 {
		l := *x.s.Leases[i]
		x.lease(l)
		x.out.Place = wire.PlaceUnder
		x.out.Answer = fmt.Sprintf("%s is the public IP of %s: packets to its pods are sent there; of their subnet %s this node says: %s",
			x.address, l.Peer, l.Lease, verdictText(l))
		return
	}
	x.stranger()
}

// holder is the lease with the narrowest subnet that has the address.
func (x *explainer) holder() (wire.Lease, bool) {
	var best *wire.Lease
	for _, l := range x.s.Leases {
		if l.Lease.IsValid() && l.Lease.Contains(x.address) && (best == nil || l.Lease.Bits() > best.Lease.Bits()) {
			best = l
		}
	}
	if best == nil {
		return wire.Lease{}, false
	}
	return *best, true
}

// lease adds what a judged lease does not carry while it is well: the objects.
func (x *explainer) lease(l wire.Lease) {
	x.out.Place, x.out.Lease = wire.PlacePeer, &l
	x.out.Answer = fmt.Sprintf("%s belongs to %s (%s): %s", x.address, l.Peer, l.Lease, verdictText(l))
	for _, i := range x.s.Incidents {
		if i.ID == l.Incident {
			x.out.Incidents = append(x.out.Incidents, i.Normal())
		}
	}
	i := slices.IndexFunc(x.set.Leases, func(o lease.Lease) bool { return compareKey(&l, &o) == 0 })
	if i < 0 {
		return
	}
	chain := expect.ChainOf(x.opts.Flannel, x.set, x.set.Leases[i])
	e := x.view.evidence(&chain)
	if p, ok := newPath(&chain, e, l.State); ok {
		x.path = p
		describe(&l, p, &x.opts)
	}
}

func verdictText(l wire.Lease) string {
	text := strings.ToLower(verdict.Lookup(verdict.States(), string(l.State)).Title)
	if l.State == verdict.OK {
		text = "all that it needs is there"
	}
	text += ", packets are " + string(l.Effect)
	if l.Effect == verdict.EffectUnknown {
		text = strings.TrimSuffix(text, ", packets are unknown") + ", where packets go is not known"
	}
	if l.Partial {
		text += " for a part of the subnet"
	}
	if l.Cause != "" {
		text += ", cause " + string(l.Cause)
	}
	if l.Reason != "" {
		text += ", " + l.Reason
	}
	return text
}

// stranger says what an address is that no lease holds.
func (x *explainer) stranger() {
	network, known := netip.Prefix{}, false
	for _, n := range x.opts.Flannel.Network {
		if netstate.FamilyOf(n.Addr()) == x.out.Family {
			network, known = n, true
		}
	}
	switch {
	case known && network.Contains(x.address):
		x.out.Place = wire.PlaceFree
		x.out.Answer = fmt.Sprintf("%s is in the pod network %s, but no lease holds it: "+
			"no node has such pods, or its Node is no lease (see skipped in /api/v1/status)", x.address, network)
	case known:
		x.out.Place = wire.PlaceOutside
		x.out.Answer = fmt.Sprintf("%s is not in the pod network %s: flannel has nothing to do with it", x.address, network)
	default:
		x.out.Place = wire.PlaceUnknown
		x.out.Answer = fmt.Sprintf("no lease holds %s; whether it is in the pod network is not known: "+
			"give the exporter --flannel.network, or flannel's configuration with --flannel.net-conf", x.address)
	}
}

// lookups adds the kernel's answers: those of now, else those of the snapshot.
func (x *explainer) lookups(live Live) {
	add := func(l netstate.Lookup, problem string) {
		x.out.Lookups = append(x.out.Lookups, wire.ExplainedLookup{
			Address: l.Query.Dst, From: l.Query.Src, Live: problem == "", Problem: problem,
			Answer: lookupText(&evidence{side: &side{state: x.state}}, &l),
		})
	}
	elsewhere := false
	for _, l := range live.Lookups {
		add(l, "")
		elsewhere = elsewhere || x.path != nil && !x.path.onForm(&l)
	}
	if elsewhere && x.out.Place == wire.PlacePeer && x.out.Lease.State == verdict.OK {
		x.out.Answer += "; but this very address takes another way now, see lookups"
	}
	if len(live.Lookups) > 0 {
		return
	}
	problem := cmp.Or(live.Problem, "the kernel was not asked")
	asked := x.address
	if x.out.Place == wire.PlacePeer {
		asked = expect.PodAddress(x.out.Lease.Lease)
	}
	for _, l := range x.state.Lookups {
		if l.Query.Dst == asked && l.Query.IIF == 0 {
			add(*l, "of the last snapshot: "+problem)
		}
	}
}
