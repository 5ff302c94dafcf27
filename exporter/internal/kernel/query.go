package kernel

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// queries returns every question that judging needs, sorted and unique: for
// each peer its pod address, and the first address of each route inside its
// subnet, plain and from the node's own flannel address; for each tunnel
// endpoint and for the node's own pods a plain one.
func (i *interest) queries(s *netstate.State) []netstate.Query {
	var all []netstate.Query
	both := func(dst netip.Addr) {
		all = append(all, netstate.Query{Dst: dst})
		if src, ok := i.source(netstate.FamilyOf(dst)); ok {
			all = append(all, netstate.Query{Dst: dst, Src: src})
		}
	}
	for _, p := range i.Peers {
		both(expect.PodAddress(p))
		for _, r := range s.RoutesInside(p) {
			both(r.Dst.Addr())
		}
	}
	for _, p := range i.publicIPs {
		all = append(all, netstate.Query{Dst: p})
	}
	for _, p := range i.own {
		all = append(all, netstate.Query{Dst: expect.PodAddress(p)})
	}
	for _, p := range i.inputs {
		if src, device, ok := i.podSource(s, netstate.FamilyOf(p.Addr())); ok {
			all = append(all, netstate.Query{Dst: expect.PodAddress(p), Src: src, IIF: device})
		}
	}
	slices.SortFunc(all, netstate.Query.Compare)
	return slices.Compact(all)
}

// podSource returns a pod's address of the node's own subnet and the device that
// its packets come in from. Without one there is no forwarded traffic to ask for.
func (i *interest) podSource(s *netstate.State, f netstate.Family) (netip.Addr, int, bool) {
	for _, subnet := range i.own {
		if netstate.FamilyOf(subnet.Addr()) != f {
			continue
		}
		if device, ok := i.podBridge(s, subnet); ok {
			return expect.PodAddress(subnet), device, true
		}
		if pod, device, ok := i.podDevice(s, subnet); ok {
			return pod, device, true
		}
	}
	return netip.Addr{}, 0, false
}

// podBridge is the device that has an address of the subnet, as cni0 has.
func (i *interest) podBridge(s *netstate.State, subnet netip.Prefix) (device int, ok bool) {
	for _, a := range s.Addrs {
		if !subnet.Contains(a.Prefix.Addr()) || !i.leadsToPods(s, a.Device) {
			continue
		}
		if l, _ := s.Link(a.Device); slices.Contains(i.Devices, l.Name) {
			return l.Index, true
		}
		if !ok || a.Device < device {
			device, ok = a.Device, true
		}
	}
	return device, ok
}

// podDevice is the device of a route into the subnet: canal has no bridge, but
// a route for each pod (calico's felix, "scope link").
func (i *interest) podDevice(s *netstate.State, subnet netip.Prefix) (pod netip.Addr, device int, ok bool) {
	for _, r := range s.RoutesInside(subnet) {
		if r.Type == netstate.Unicast && !r.Gateway.IsValid() && r.Table != netstate.TableLocal && i.leadsToPods(s, r.Device) {
			return expect.PodAddress(r.Dst), r.Device, true
		}
	}
	return netip.Addr{}, 0, false
}

// leadsToPods reports whether a device that the own subnet is on can lead to
// its pods: flannel's device and loopback have an address of it as well.
func (i *interest) leadsToPods(s *netstate.State, device int) bool {
	l, ok := s.Link(device)
	return ok && l.Up && l.Kind != kindVXLAN && l.Name != "lo" && !i.flannel(l)
}
