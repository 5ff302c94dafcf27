package judge

import (
	"maps"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/mend"
	"routewatch/shared/netstate"
	"routewatch/shared/wire"
)

// stale finds objects of flannel's form on flannel's devices that no lease
// explains. While the leases are not fully known nothing new becomes stale:
// an object may belong to a lease that could not be read.
func (f *fold) stale() {
	f.mem.stale.of(f.staleSource())
	var known map[object]*wire.Stale
	for _, family := range f.next.Families {
		blind := !f.next.Complete || slices.Contains(f.mem.index.malformed, family)
		for _, s := range f.unexplained(family) {
			if known == nil {
				known = objects(f.prev.Stale)
			}
			f.addStale(s, known[object{s.Kind, s.Object}], blind)
		}
	}
}

type object struct {
	kind wire.StaleKind
	text string
}

func objects(stale []wire.Stale) map[object]*wire.Stale {
	m := make(map[object]*wire.Stale, len(stale))
	for i := range slices.Backward(stale) { // of two the first
		m[object{stale[i].Kind, stale[i].Object}] = &stale[i]
	}
	return m
}

// addStale dates an object by the previous snapshot: was is what that said of it.
func (f *fold) addStale(s wire.Stale, was *wire.Stale, blind bool) {
	s.Since, s.Pending = f.in.Now, true
	switch {
	case was != nil:
		s.Since, s.Pending = was.Since, was.Pending
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

// unexplained are the objects of the kernel's lists that no lease explains.
type unexplained struct {
	source staleSource
	lists  map[netstate.Family]*unexplainedOf
}

type unexplainedOf struct {
	routes    sifted[*netstate.Route]
	neighbors sifted[netstate.Neighbor]
	fdb       sifted[netstate.FDBEntry]
}

// staleSource is what decides, beside an object itself, whether it is unexplained.
type staleSource struct {
	index    *index
	backend  string
	device   map[netstate.Family]int // ifindex of the flannel device
	flannels []int                   // of all of them
}

func (f *fold) staleSource() staleSource {
	s := staleSource{index: f.mem.index, backend: f.next.Backend, flannels: f.view.all, device: map[netstate.Family]int{}}
	for family, link := range f.view.flannel {
		s.device[family] = link.Index
	}
	return s
}

// of forgets what was found by another source.
func (u *unexplained) of(s staleSource) {
	same := u.lists != nil && u.source.index == s.index && u.source.backend == s.backend &&
		maps.Equal(u.source.device, s.device) && slices.Equal(u.source.flannels, s.flannels)
	if !same {
		*u = unexplained{source: s, lists: map[netstate.Family]*unexplainedOf{}}
	}
}

func (u *unexplained) family(f netstate.Family) *unexplainedOf {
	if u.lists[f] == nil {
		u.lists[f] = &unexplainedOf{}
	}
	return u.lists[f]
}

func (f *fold) unexplained(family netstate.Family) []wire.Stale {
	var out []wire.Stale
	add := func(kind wire.StaleKind, object, del string) {
		out = append(out, wire.Stale{Kind: kind, Family: family, Object: object, Advice: []wire.Advice{{Command: del}}})
	}
	link, there := f.view.device(family)
	routes := &f.mem.stale.family(family).routes
	routes.sift(f.state.Routes, func(r *netstate.Route) bool {
		return netstate.FamilyOf(r.Dst.Addr()) == family && f.flannelsForm(r, link.Index) && !f.mem.index.covers(r.Dst)
	})
	for _, i := range routes.picked {
		r := routes.list[i]
		s := deletion(r, f.state.LinkName(r.Device))
		add(wire.StaleRoute, mend.RouteText(s), s.String())
	}
	if !there {
		return out
	}
	wg, _ := f.state.WireGuardOf(link.Index)
	for _, peer := range wg.Peers {
		if !f.mem.index.keys[peer.PublicKey] {
			add(wire.StalePeer, peerText(link.Name, peer.PublicKey, []string{endpointText(peer.Endpoint)}, peer.AllowedIPs),
				"wg set "+link.Name+" peer "+peer.PublicKey+" remove")
		}
	}
	if f.next.Backend == kindVXLAN {
		f.unexplainedByVXLAN(family, link, add)
	}
	return out
}

// unexplainedByVXLAN adds the neighbors and FDB entries of a flannel device
// that no lease explains.
func (f *fold) unexplainedByVXLAN(family netstate.Family, link *netstate.Link, add func(kind wire.StaleKind, object, del string)) {
	lists := f.mem.stale.family(family)
	lists.neighbors.sift(f.state.Neighbors, func(n netstate.Neighbor) bool {
		return n.Device == link.Index && n.Permanent() && netstate.FamilyOf(n.IP) == family && !f.mem.index.isGateway(n.IP) &&
			!n.IP.IsMulticast() && !n.IP.IsLinkLocalUnicast()
	})
	for _, i := range lists.neighbors.picked {
		n := lists.neighbors.list[i]
		add(wire.StaleNeighbor, mend.NeighborText(n.IP, n.MAC, link.Name, n.State),
			mend.Step{Verb: mend.NeighborDelete, IP: n.IP, Device: link.Name}.String())
	}
	lists.fdb.sift(f.state.FDB, func(e netstate.FDBEntry) bool {
		return e.Device == link.Index && !e.MAC.IsZero() && e.Dst.IsValid() && !f.mem.index.macs[e.MAC]
	})
	for _, i := range lists.fdb.picked {
		e := lists.fdb.list[i]
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
