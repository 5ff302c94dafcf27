package judge

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// view is a State with the flannel devices of this node picked out.
type view struct {
	config expect.Config
	set    *lease.Set
	state  *netstate.State
	vnis   map[netstate.Family]uint32 // see peerVNIs
	// ownKnown: this node's own lease is known.
	ownKnown bool
	sides    map[netstate.Family]*side          // those that were asked for
	flannel  map[netstate.Family]*netstate.Link // this node's flannel device
	external map[netstate.Family]netstate.Link  // the device that has this node's own public IP
	all      []int                              // ifindex of every flannel device: with vxlan those that have one of our VNIs
	wide     []*netstate.Route                  // routes through flannel devices that have no gateway
	source   map[netstate.Family]netip.Addr     // own flannel address, if a device has it
	peers    map[int]*peers                     // of the WireGuard devices, by ifindex
	hints    *hints
	one      evidence // see there
}

func newView(c expect.Config, set *lease.Set, state *netstate.State, vnis map[netstate.Family]uint32) view {
	v := view{
		config: c, set: set, state: state, vnis: vnis, ownKnown: set.OwnProblem() == "",
		sides: map[netstate.Family]*side{}, flannel: map[netstate.Family]*netstate.Link{}, external: map[netstate.Family]netstate.Link{},
		source: map[netstate.Family]netip.Addr{}, peers: map[int]*peers{},
		hints: &hints{events: state.Hints},
	}
	for _, own := range set.Own {
		// The kernel refuses a lookup from an address that no device has.
		if slices.ContainsFunc(state.Addrs, func(a netstate.Addr) bool { return a.Prefix.Addr() == own.Subnet.Addr() }) {
			v.source[own.Family] = own.Subnet.Addr()
		}
		i := slices.IndexFunc(state.Addrs, func(a netstate.Addr) bool { return a.Prefix.Addr() == own.PublicIP })
		if i >= 0 {
			v.external[own.Family], _ = state.Link(state.Addrs[i].Device)
		}
	}
	for _, family := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
		v.pick(family)
	}
	backend := c.BackendOf(set)
	for _, r := range state.Routes {
		if backend == kindVXLAN || backend == "host-gw" || backend == "ipip" {
			break // no route of theirs is like that
		}
		if v.isFlannel(r.Device) && r.Type == netstate.Unicast && !r.Gateway.IsValid() && r.Dst.Bits() > 0 {
			v.wide = append(v.wide, r)
		}
	}
	for _, wg := range state.WireGuard {
		v.peers[wg.Device] = newPeers(wg)
	}
	return v
}

// pick finds the flannel devices of a family, and the one of them that is this node's.
func (v *view) pick(family netstate.Family) {
	vni := v.vniOf(family)
	names := v.config.DevicesOf(v.set, family, vni)
	best := -1
	for i := range v.state.Links {
		link := &v.state.Links[i]
		fit := v.fit(link, family, vni, names)
		ours := fit >= 0 || vni != 0 && link.Kind == kindVXLAN && link.VXLAN.VNI == vni
		if ours && !v.isFlannel(link.Index) {
			v.all = append(v.all, link.Index)
		}
		if fit > best {
			best = fit
			v.flannel[family] = link
		}
	}
}

// vniOf is this node's VNI; where its own lease is not known, that of the first peer.
func (v *view) vniOf(f netstate.Family) uint32 {
	if vni := v.config.VNIOf(v.set, f); vni != 0 {
		return vni
	}
	return v.vnis[f]
}

// peerVNIs are the VNI of the first peer of each family that published one.
func peerVNIs(set *lease.Set) map[netstate.Family]uint32 {
	vnis := map[netstate.Family]uint32{}
	for i := range set.Leases {
		if l := &set.Leases[i]; vnis[l.Family] == 0 && l.VNI != 0 {
			vnis[l.Family] = l.VNI
		}
	}
	return vnis
}

func (v *view) vni() uint32 {
	if vni := v.vniOf(netstate.IPv4); vni != 0 {
		return vni
	}
	return v.vniOf(netstate.IPv6)
}

// fit says how well a device fits as the flannel device of a family; negative is not at all.
func (v *view) fit(link *netstate.Link, f netstate.Family, vni uint32, names []string) int {
	fit := 0
	switch {
	case vni != 0:
		if fit = fitVXLAN(link, f, vni); fit < 0 {
			return fit
		}
	case link.Kind == kindVXLAN || !slices.Contains(names, link.Name):
		return -1
	case link.Name == names[0]:
		fit++
	case !v.hasAddress(link.Index, f):
		return -1 // another program's, or flannel's of the other family
	}
	if own, ok := v.set.OwnOf(f); ok {
		for p := range v.state.AddrsOf(link.Index) {
			if p.Addr() == own.Subnet.Addr() {
				fit += 4
			}
		}
	}
	return fit
}

// fitVXLAN is fit for vxlan: two devices can have one VNI, one a family.
func fitVXLAN(link *netstate.Link, f netstate.Family, vni uint32) int {
	fit := 0
	switch local := link.VXLAN.Local; {
	case link.Kind != kindVXLAN || link.VXLAN.VNI != vni:
		return -1
	case local.IsValid() && netstate.FamilyOf(local) != f:
		return -1
	case local.IsValid():
		fit += 2
	}
	if link.Name == expect.DeviceName(f, vni) {
		fit++
	}
	return fit
}

const kindVXLAN = "vxlan" // IFLA_INFO_KIND

// device is this node's flannel device of a family, a zero one if there is none.
func (v *view) device(f netstate.Family) (*netstate.Link, bool) {
	if link, ok := v.flannel[f]; ok {
		return link, true
	}
	return &netstate.Link{}, false
}

// isFlannel reports whether the ifindex is a flannel device of any family.
func (v *view) isFlannel(index int) bool { return slices.Contains(v.all, index) }

// hasAddress reports whether a device has an address of the family other than
// a link-local one, without which the kernel keeps no IPv4 route on it.
func (v *view) hasAddress(index int, f netstate.Family) bool {
	for p := range v.state.AddrsOf(index) {
		if netstate.FamilyOf(p.Addr()) == f && (f == netstate.IPv4 || !p.Addr().IsLinkLocalUnicast()) {
			return true
		}
	}
	return false
}

// side is what the kernel said that bears on all leases of a family.
type side struct {
	state    *netstate.State // for names of devices and advice
	complete bool            // the kernel picture is complete; problem says why it is not
	problem  string
	leasesOf string // the lease source
	hints    *hints
	restart  wire.Advice // of flannel; made when it is needed

	device    *netstate.Link // the flannel device of the family
	present   bool           // it is there
	addressed bool           // it has an address of the family
	external  *netstate.Link // the device that has this node's own public IP; zero if none has
	own       netip.Addr     // the address that the flannel device must have; invalid if the own lease is not known
	source    netip.Addr     // that address, if a device has it
	ownKnown  bool           // this node's own lease is known
	anyDevice bool           // there is a flannel device of any family
	isFlannel func(index int) bool
}

// side returns the same one for each lease.
func (v *view) side(f netstate.Family) *side {
	if s, ok := v.sides[f]; ok {
		return s
	}
	s := &side{
		state: v.state, complete: v.state.Complete, problem: v.state.Problem, leasesOf: v.set.Source, hints: v.hints,
		external: &netstate.Link{}, source: v.source[f], ownKnown: v.ownKnown, anyDevice: len(v.all) > 0, isFlannel: v.isFlannel,
	}
	s.device, s.present = v.device(f)
	s.addressed = s.present && v.hasAddress(s.device.Index, f)
	if link, ok := v.external[f]; ok {
		s.external = &link
	}
	if own, ok := v.set.OwnOf(f); ok {
		s.own = own.Subnet.Addr()
	}
	v.sides[f] = s
	return s
}

// evidence is what the kernel said about one lease.
type evidence struct {
	*side
	read bool // the kernel was asked about this lease
	// deviceName is the device's name, or the one that flannel would give it.
	deviceName string

	out      *netstate.Lookup   // O: plain output
	from     *netstate.Lookup   // F: from the node's own flannel address; out again where that is not known
	exact    []*netstate.Route  // for exactly what the expected route is for, local table left out
	inside   []*netstate.Route  // for a true part of that which overlaps the subnet, all tables
	paths    []*netstate.Lookup // the lookups of inside, those that were asked
	underlay *netstate.Lookup   // of the public IP
	lower    netstate.Link      // the device that underlay takes

	neighbor    netstate.Neighbor // of the tunnel form
	hasNeighbor bool
	fdb         []netstate.FDBEntry
	peers       *peers // of the WireGuard device

	path path // see newPath
}

var (
	notAsked netstate.Lookup // the answer to a question that the kernel was not asked
	noPeers  peers
)

// evidence is good until the next call: there is one for thousands of leases.
func (v *view) evidence(c *expect.Chain) *evidence {
	l, e := &c.Lease, &v.one
	*e = evidence{side: v.side(l.Family), out: &notAsked, from: &notAsked, underlay: &notAsked, peers: &noPeers}
	if !l.Subnet.IsValid() || len(c.Forms) == 0 {
		return e
	}
	ask := func(dst, src netip.Addr) (*netstate.Lookup, bool) {
		return v.state.Answer(netstate.Query{Dst: dst, Src: src})
	}
	pod := expect.PodAddress(l.Subnet)
	e.out, e.read = ask(pod, netip.Addr{})
	e.from = e.out
	if from, ok := ask(pod, e.source); ok {
		e.from = from
	}
	if e.deviceName = e.device.Name; !e.present && len(c.Devices) > 0 {
		e.deviceName = c.Devices[0]
	}
	inside := v.state.RoutesInside(l.Subnet)
	v.routes(e, c, inside)
	for _, r := range inside {
		if out, ok := ask(r.Dst.Addr(), netip.Addr{}); ok {
			e.paths = append(e.paths, out)
		}
		if from, ok := ask(r.Dst.Addr(), e.source); ok && e.source.IsValid() {
			e.paths = append(e.paths, from)
		}
	}
	under, ok := ask(l.PublicIP, netip.Addr{})
	e.underlay, e.read = under, e.read && ok
	e.lower, _ = v.state.Link(under.Route.Device)
	if tunnel, ok := c.Tunnel(); ok {
		e.neighbor, e.hasNeighbor = v.state.Neighbor(e.device.Index, tunnel.Gateway)
		e.fdb = v.state.FDBOf(e.device.Index, tunnel.NeighborMAC)
		if all, ok := v.peers[e.device.Index]; ok {
			e.peers = all
		}
	}
	return e
}

// routes gathers the routes that bear on a chain: those for the subnet and its
// parts, or with one route for the whole pod network those for that and every
// narrower one that the subnet's packets can meet.
func (v *view) routes(e *evidence, c *expect.Chain, inside []*netstate.Route) {
	l, form := &c.Lease, &c.Forms[0]
	exact := v.state.RoutesTo(l.Subnet)
	if form.Wide {
		inside = slices.Concat(exact, inside)
		exact = v.state.RoutesTo(form.Dst)
		if !form.Dst.IsValid() {
			exact = slices.DeleteFunc(slices.Clone(v.wide), func(r *netstate.Route) bool { return !covers(r.Dst, l.Subnet) })
		}
		for _, between := range []*netstate.Route{&e.out.Route, &e.from.Route} {
			if !has(exact, between) && !has(inside, between) &&
				covers(form.Dst, between.Dst) && covers(between.Dst, l.Subnet) {
				inside = append(inside, between)
			}
		}
	}
	local := func(r *netstate.Route) bool { return r.Table == netstate.TableLocal }
	if slices.ContainsFunc(exact, local) {
		exact = slices.DeleteFunc(slices.Clone(exact), local)
	}
	e.exact, e.inside = exact, inside
}

func has(routes []*netstate.Route, route *netstate.Route) bool {
	return slices.ContainsFunc(routes, func(r *netstate.Route) bool { return *r == *route })
}

// covers reports whether a is or holds b; false if either is not known.
func covers(a, b netip.Prefix) bool {
	return a.IsValid() && b.IsValid() && a.Bits() <= b.Bits() && a.Contains(b.Addr())
}
