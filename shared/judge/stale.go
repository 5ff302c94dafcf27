package judge

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/lease"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// stale finds objects of flannel's form on flannel's devices that no lease
// explains. While the leases are not fully known nothing new becomes stale:
// an object may belong to a lease that could not be read.
func (f *fold) stale() {
	ex := newExplained(f.set)
	for _, family := range f.next.Families {
		blind := !f.next.Complete || slices.ContainsFunc(f.set.Leases, func(l lease.Lease) bool {
			return l.Family == family && l.Malformed != ""
		})
		for _, s := range f.unexplained(ex, family) {
			f.addStale(s, blind)
		}
	}
}

// addStale dates an object by the previous snapshot.
func (f *fold) addStale(s wire.Stale, blind bool) {
	s.Since, s.Pending = f.in.Now, true
	i := slices.IndexFunc(f.prev.Stale, func(p wire.Stale) bool { return p.Kind == s.Kind && p.Object == s.Object })
	switch {
	case i >= 0:
		s.Since, s.Pending = f.prev.Stale[i].Since, f.prev.Stale[i].Pending
	case blind:
		return
	case !f.prev.LeasesRead || !f.prev.KernelRead:
		s.Pending = false // at the start: it is older than we are
	}
	if s.Pending {
		if end := s.Since.Add(f.opts.Grace); f.in.Now.Before(end) {
			f.wakeAt(end)
		} else if !blind {
			s.Pending = false
		}
	}
	f.next.Stale = append(f.next.Stale, s)
}

func (f *fold) unexplained(ex explained, family netstate.Family) []wire.Stale {
	var out []wire.Stale
	add := func(kind wire.StaleKind, object, del string) {
		out = append(out, wire.Stale{Kind: kind, Family: family, Object: object, Advice: []wire.Advice{{Command: del}}})
	}
	link, there := f.view.device(family)
	for _, r := range f.state.Routes {
		if netstate.FamilyOf(r.Dst.Addr()) != family || !f.flannelsForm(r, link.Index) || ex.covers(r.Dst) {
			continue
		}
		s := deletion(r, f.state.LinkName(r.Device))
		add(wire.StaleRoute, mend.RouteText(s), s.String())
	}
	if !there {
		return out
	}
	wg, _ := f.state.WireGuardOf(link.Index)
	for _, peer := range wg.Peers {
		if !ex.keys[peer.PublicKey] {
			add(wire.StalePeer, peerText(link.Name, peer.PublicKey, []string{endpointText(peer.Endpoint)}, peer.AllowedIPs),
				"wg set "+link.Name+" peer "+peer.PublicKey+" remove")
		}
	}
	if f.next.Backend == kindVXLAN {
		f.unexplainedByVXLAN(ex, family, link, add)
	}
	return out
}

// unexplainedByVXLAN adds the neighbors and FDB entries of a flannel device
// that no lease explains.
func (f *fold) unexplainedByVXLAN(
	ex explained, family netstate.Family, link netstate.Link, add func(kind wire.StaleKind, object, del string),
) {
	for _, n := range f.state.Neighbors {
		if n.Device != link.Index || !n.Permanent() || netstate.FamilyOf(n.IP) != family || ex.gateways[n.IP] {
			continue
		}
		if n.IP.IsMulticast() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		add(wire.StaleNeighbor, mend.NeighborText(n.IP, n.MAC, link.Name, n.State),
			mend.Step{Verb: mend.NeighborDelete, IP: n.IP, Device: link.Name}.String())
	}
	for _, e := range f.state.FDB {
		if e.Device != link.Index || e.MAC.IsZero() || !e.Dst.IsValid() || ex.macs[e.MAC] {
			continue
		}
		add(wire.StaleFDB, mend.FDBText(e.MAC, link.Name, e.Dst),
			mend.Step{Verb: mend.FDBDelete, MAC: e.MAC, Device: link.Name, Dst: e.Dst}.String())
	}
}

// deletion is the step that deletes a route through a device.
func deletion(r *netstate.Route, device string) mend.Step {
	return mend.Step{
		Verb: mend.RouteDelete, Type: r.Type, Prefix: r.Dst, Gateway: r.Gateway, Device: device, Table: r.Table, Priority: r.Priority,
	}
}

// flannelsForm reports whether a route has the form that flannel gives its
// routes for a lease: on its own device via the first address of their own
// destination (vxlan) or via a node (ipip); on another device via a node, for a
// part of the pod network, and as flannel writes it with protocol boot, since
// other programs' routes are there as well.
func (f *fold) flannelsForm(r *netstate.Route, device int) bool {
	if r.Type != netstate.Unicast || r.Table == netstate.TableLocal || !r.Gateway.IsValid() || r.Multipath {
		return false
	}
	if device != 0 && r.Device == device {
		return f.next.Backend != "vxlan" || r.Gateway == r.Dst.Addr()
	}
	network, ok := f.opts.Flannel.NetworkOf(r.Dst)
	return ok && r.Dst != network && expect.MayBeDirect(r) && !f.view.isFlannel(r.Device) && f.opts.Flannel.GoesDirect(f.next.Backend)
}

// explained is what the leases account for.
type explained struct {
	subnets  map[netip.Prefix]bool
	bits     []int // lengths of the subnets, ascending, unique
	gateways map[netip.Addr]bool
	macs     map[netstate.MAC]bool
	keys     map[string]bool // of WireGuard peers
}

func newExplained(set *lease.Set) explained {
	ex := explained{subnets: map[netip.Prefix]bool{}, gateways: map[netip.Addr]bool{}, macs: map[netstate.MAC]bool{}, keys: map[string]bool{}}
	for _, l := range slices.Concat(set.Own, set.Leases) {
		if !l.Subnet.IsValid() {
			continue
		}
		ex.subnets[l.Subnet], ex.gateways[l.Subnet.Addr()], ex.macs[l.MAC], ex.keys[l.PublicKey] = true, true, true, true
		if !slices.Contains(ex.bits, l.Subnet.Bits()) {
			ex.bits = append(ex.bits, l.Subnet.Bits())
		}
	}
	slices.Sort(ex.bits)
	return ex
}

// covers reports whether a lease's subnet is or holds the prefix.
func (ex explained) covers(p netip.Prefix) bool {
	for _, bits := range ex.bits {
		if bits > p.Bits() {
			return false
		}
		if wide, err := p.Addr().Prefix(bits); err == nil && ex.subnets[wide] {
			return true
		}
	}
	return false
}
