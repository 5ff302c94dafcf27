package judge

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// view is a State with the flannel devices of this node picked out.
type view struct {
	config expect.Config
	set    *lease.Set
	state  *netstate.State
	// ownKnown: this node's own lease is known.
	ownKnown bool
	flannel  map[netstate.Family]netstate.Link // this node's flannel device
	all      []int                             // ifindex of every vxlan device that has one of our VNIs
	source   map[netstate.Family]netip.Addr    // own flannel address, if a device has it
}

func newView(c expect.Config, set *lease.Set, state *netstate.State) view {
	v := view{
		config: c, set: set, state: state, ownKnown: set.OwnProblem() == "",
		flannel: map[netstate.Family]netstate.Link{},
		source:  map[netstate.Family]netip.Addr{},
	}
	for _, own := range set.Own {
		// The kernel refuses a lookup from an address that no device has.
		if slices.ContainsFunc(state.Addrs, func(a netstate.Addr) bool { return a.Prefix.Addr() == own.Subnet.Addr() }) {
			v.source[own.Family] = own.Subnet.Addr()
		}
	}
	for _, family := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
		vni := v.vniOf(family)
		best := -1
		for _, link := range state.Links {
			if link.Kind != "vxlan" || vni == 0 || link.VXLAN.VNI != vni {
				continue
			}
			if !slices.Contains(v.all, link.Index) {
				v.all = append(v.all, link.Index)
			}
			if fit := v.fit(link, family); fit > best {
				best = fit
				v.flannel[family] = link
			}
		}
	}
	return v
}

// vniOf is this node's VNI; where its own lease is not known, that of the first peer.
func (v *view) vniOf(f netstate.Family) uint32 {
	if vni := v.config.VNIOf(v.set, f); vni != 0 {
		return vni
	}
	i := slices.IndexFunc(v.set.Leases, func(l lease.Lease) bool { return l.Family == f && l.VNI != 0 })
	if i < 0 {
		return 0
	}
	return v.set.Leases[i].VNI
}

func (v *view) vni() uint32 {
	if vni := v.vniOf(netstate.IPv4); vni != 0 {
		return vni
	}
	return v.vniOf(netstate.IPv6)
}

// fit says how well a vxlan device with the right VNI fits a family: two
// devices can have one VNI, one a family. -1 is not at all.
func (v *view) fit(link netstate.Link, f netstate.Family) int {
	fit := 0
	switch {
	case link.VXLAN.Local.IsValid() && netstate.FamilyOf(link.VXLAN.Local) != f:
		return -1
	case link.VXLAN.Local.IsValid():
		fit += 2
	}
	if link.Name == expect.DeviceName(f, link.VXLAN.VNI) {
		fit++
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

// device is this node's flannel device of a family.
func (v *view) device(f netstate.Family) (netstate.Link, bool) {
	link, ok := v.flannel[f]
	return link, ok
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

// evidence is what the kernel said about one lease.
type evidence struct {
	state    *netstate.State // for names of devices and advice
	complete bool            // the kernel picture is complete; problem says why it is not
	problem  string
	read     bool // the kernel was asked about this lease

	device  netstate.Link // the flannel device of the family
	present bool          // it is there
	// deviceName is its name, or the one that flannel would give it.
	deviceName string
	addressed  bool       // it has an address of the family
	own        netip.Addr // the address that it must have; invalid if the own lease is not known
	ownKnown   bool       // this node's own lease is known
	anyDevice  bool       // there is a flannel device of any family

	out      netstate.Lookup   // O: plain output
	from     netstate.Lookup   // F: from the node's own flannel address; out again where that is not known
	exact    []netstate.Route  // for exactly the subnet, local table left out
	inside   []netstate.Route  // for a true part of the subnet, all tables
	paths    []netstate.Lookup // the lookups of inside, those that were asked
	underlay netstate.Lookup   // of the public IP
	lower    netstate.Link     // the device that underlay takes

	neighbor    netstate.Neighbor // of the tunnel form
	hasNeighbor bool
	fdb         []netstate.FDBEntry
	isFlannel   func(index int) bool
}

func (v *view) evidence(c expect.Chain) evidence {
	l := c.Lease
	e := evidence{
		state: v.state, complete: v.state.Complete, problem: v.state.Problem,
		ownKnown: v.ownKnown, anyDevice: len(v.all) > 0, isFlannel: v.isFlannel,
	}
	if !l.Subnet.IsValid() || len(c.Forms) == 0 {
		return e
	}
	ask := func(dst, src netip.Addr) (netstate.Lookup, bool) {
		return v.state.Lookup(netstate.Query{Dst: dst, Src: src})
	}
	pod := expect.PodAddress(l.Subnet)
	source := v.source[l.Family]
	e.out, e.read = ask(pod, netip.Addr{})
	e.from = e.out
	if from, ok := ask(pod, source); ok {
		e.from = from
	}
	e.device, e.present = v.device(l.Family)
	if e.deviceName = e.device.Name; !e.present {
		e.deviceName = expect.DeviceName(l.Family, c.VNI)
	}
	if own, ok := v.set.OwnOf(l.Family); ok {
		e.own = own.Subnet.Addr()
	}
	e.addressed = e.present && v.hasAddress(e.device.Index, l.Family)
	for _, r := range v.state.RoutesTo(l.Subnet) {
		if r.Table != netstate.TableLocal {
			e.exact = append(e.exact, r)
		}
	}
	e.inside = v.state.RoutesInside(l.Subnet)
	for _, r := range e.inside {
		if out, ok := ask(r.Dst.Addr(), netip.Addr{}); ok {
			e.paths = append(e.paths, out)
		}
		if from, ok := ask(r.Dst.Addr(), source); ok && source.IsValid() {
			e.paths = append(e.paths, from)
		}
	}
	under, ok := ask(l.PublicIP, netip.Addr{})
	e.underlay, e.read = under, e.read && ok
	e.lower, _ = v.state.Link(under.Route.Device)
	tunnel := c.Tunnel()
	e.neighbor, e.hasNeighbor = v.state.Neighbor(e.device.Index, tunnel.Gateway)
	e.fdb = v.state.FDBOf(e.device.Index, tunnel.NeighborMAC)
	return e
}
