package kernel

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

// loopback is the index of device lo in every namespace.
const loopback = 1

// podSource returns a pod's address and the device that packets from there come
// in by. Without such a device there is no forwarded traffic to ask for. It is
// the bridge, or else a device that a route leads to pods of this node by: a
// CNI plugin without a bridge has one for each pod.
func (i *interest) podSource(s *netstate.State, f netstate.Family) (netip.Addr, int, bool) {
	if pods, device, ok := i.bridge(s, f); ok {
		return podIn(s, pods), device, true
	}
	for _, subnet := range i.own {
		if netstate.FamilyOf(subnet.Addr()) != f {
			continue
		}
		for _, r := range slices.Concat(s.RoutesInside(subnet), s.RoutesTo(subnet)) {
			if leadsToPods(r) && i.takesPods(s, r.Device) {
				return podIn(s, r.Dst), r.Device, true
			}
		}
	}
	return netip.Addr{}, 0, false
}

// bridge returns the device that has an address of the node's own subnet, and
// the part of the subnet that is behind it: the first one of Interest.Devices,
// or else the first one that has a prefix there (an address alone, as a
// virtual one, has no pods behind it).
func (i *interest) bridge(s *netstate.State, f netstate.Family) (pods netip.Prefix, device int, found bool) {
	for _, a := range s.Addrs {
		n := slices.IndexFunc(i.own, func(own netip.Prefix) bool { return own.Contains(a.Prefix.Addr()) })
		if n < 0 || netstate.FamilyOf(a.Prefix.Addr()) != f || slices.Contains(i.Sources, a.Prefix.Addr()) || !i.takesPods(s, a.Device) {
			continue // flannel's own device has an address of the subnet as well
		}
		named := slices.Contains(i.Devices, s.LinkName(a.Device))
		if !named && (found || a.Prefix.IsSingleIP()) {
			continue
		}
		pods, device, found = i.own[n], a.Device, true
		if behind := a.Prefix.Masked(); behind.Bits() > pods.Bits() && !behind.IsSingleIP() {
			pods = behind
		}
		if named {
			break
		}
	}
	return pods, device, found
}

// takesPods reports whether packets of pods can come in by the device.
func (i *interest) takesPods(s *netstate.State, device int) bool {
	l, ok := s.Link(device)
	return ok && l.Up && l.Index != loopback && l.Kind != kindVXLAN && !i.flannel(l)
}

func leadsToPods(r *netstate.Route) bool {
	return r.Type == netstate.Unicast && r.Table == netstate.TableMain && !r.Gateway.IsValid() && !r.Multipath
}

// podIn returns an address that a pod in the prefix may have. The kernel refuses
// one of the node's own as the source of a packet that comes in.
func podIn(s *netstate.State, p netip.Prefix) netip.Addr {
	a := expect.PodAddress(p)
	for slices.ContainsFunc(s.Addrs, func(own netstate.Addr) bool { return own.Prefix.Addr() == a }) {
		next := a.Next()
		if !p.Contains(next) {
			break
		}
		a = next
	}
	return a
}

// relevant returns the devices whose settings are read, and whose events matter
// whatever the routes say: flannel's and those under them, the one with the
// node's own public IP, and the one that packets of pods come in by.
func (i *interest) relevant(s *netstate.State) map[int]bool {
	devices := map[int]bool{}
	for _, l := range s.Links {
		if i.named(l) {
			devices[l.Index] = true
		}
		if i.flannel(l) && l.Lower != 0 {
			devices[l.Lower] = true
		}
	}
	for _, a := range s.Addrs {
		if slices.Contains(i.External, a.Prefix.Addr()) {
			devices[a.Device] = true
		}
	}
	for _, f := range families() {
		if _, device, ok := i.podSource(s, f); ok {
			devices[device] = true
		}
	}
	return devices
}

// sieve picks the routes to keep while tables are read, and of those to the
// node's own pods one a family, where nothing but a route tells which device
// they are behind.
type sieve struct {
	in       *interest
	s        *netstate.State                    // its links and addresses
	foreigns                                    // with the flannel devices
	pods     map[netstate.Family]netstate.Route // the one so far; a family without a bridge has an entry
	was      map[netstate.Family]netip.Prefix   // the one in the picture before, which stays while it is there
}

func newSieve(in *interest, old, s *netstate.State) *sieve {
	v := &sieve{
		in: in, s: s, foreigns: foreigns{in.spans, in.flannelDevices(s.Links)},
		pods: map[netstate.Family]netstate.Route{}, was: in.podRoutes(old),
	}
	for f := range in.podRoutes(s) {
		v.pods[f] = netstate.Route{}
	}
	return v
}

// keeps reports whether a route is kept at once. Those of take come in the end.
func (v *sieve) keeps(r *netstate.Route) bool {
	viaFlannel := slices.Contains(v.flannel, r.Device)
	if v.in.keeps(r, viaFlannel) {
		return true
	}
	f := netstate.FamilyOf(r.Dst.Addr())
	best, wanted := v.pods[f]
	if !wanted || !leadsToPods(r) || !v.in.podRoute(r, viaFlannel) || !v.in.takesPods(v.s, r.Device) {
		return false
	}
	if !best.Dst.IsValid() || best.Dst != v.was[f] && (r.Dst == v.was[f] || netstate.CompareRoutes(r, &best) < 0) {
		v.pods[f] = *r
	}
	return false
}

// take returns the routes to pods that were picked.
func (v *sieve) take() []*netstate.Route {
	var all []*netstate.Route
	for f, r := range v.pods {
		if r.Dst.IsValid() {
			all = append(all, &r)
			v.pods[f] = netstate.Route{}
		}
	}
	return all
}

// podRoutes returns for each family whose routes to pods matter the destination
// of the one in the picture; the zero prefix if there is none.
func (i *interest) podRoutes(s *netstate.State) map[netstate.Family]netip.Prefix {
	pods := map[netstate.Family]netip.Prefix{}
	if s == nil {
		return pods
	}
	for _, own := range i.own {
		f := netstate.FamilyOf(own.Addr())
		if _, _, bridged := i.bridge(s, f); bridged {
			continue
		}
		pods[f] = netip.Prefix{}
		for _, r := range s.RoutesInside(own) {
			if i.isPodRoute(s, r) {
				pods[f] = r.Dst
			}
		}
	}
	return pods
}

func (i *interest) isPodRoute(s *netstate.State, r *netstate.Route) bool {
	if r.Gateway.IsValid() || !i.podRoute(r, false) {
		return false
	}
	l, _ := s.Link(r.Device)
	return !i.flannel(l)
}
