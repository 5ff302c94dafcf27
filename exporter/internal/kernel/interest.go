package kernel

import (
	"net/netip"
	"slices"

	"routewatch/shared/expect"
	"routewatch/shared/netstate"
)

const kindVXLAN = "vxlan" // IFLA_INFO_KIND

// maxInputPeers bounds the lookups of forwarded traffic: they judge the node,
// not a lease, and a few peers show the same as all.
const maxInputPeers = 3

// interest is an expect.Interest made ready for questions. It is immutable.
type interest struct {
	expect.Interest
	subnets   prefixSet
	own       []netip.Prefix // subnets that are not a peer's
	publicIPs []netip.Addr   // sorted
	inputs    []netip.Prefix // the peers that forwarded traffic is looked up for
}

func newInterest(in expect.Interest) *interest {
	i := &interest{Interest: in, subnets: newPrefixSet(in.Subnets), publicIPs: slices.Clone(in.PublicIPs)}
	slices.SortFunc(i.publicIPs, netip.Addr.Compare)
	peers := slices.Clone(in.Peers)
	slices.SortFunc(peers, netip.Prefix.Compare)
	for _, s := range in.Subnets {
		if _, peer := slices.BinarySearchFunc(peers, s, netip.Prefix.Compare); !peer {
			i.own = append(i.own, s)
		}
	}
	asked := map[netstate.Family]int{}
	for _, p := range peers {
		if f := netstate.FamilyOf(p.Addr()); asked[f] < maxInputPeers {
			asked[f]++
			i.inputs = append(i.inputs, p)
		}
	}
	return i
}

// source returns the node's own flannel address of a family.
func (i *interest) source(f netstate.Family) (netip.Addr, bool) {
	for _, a := range i.Sources {
		if netstate.FamilyOf(a) == f {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// flannel reports whether the device is a flannel device: one of vxlan whatever
// its name, any other by its name.
func (i *interest) flannel(l netstate.Link) bool {
	return i.vtep(l) || l.Kind != kindVXLAN && slices.Contains(i.Tunnels, l.Name)
}

// vtep reports whether the device is one of flannel's vxlan backend, and so has
// neighbors and FDB entries that matter.
func (i *interest) vtep(l netstate.Link) bool {
	return l.Kind == kindVXLAN && slices.Contains(i.VNIs, l.VXLAN.VNI)
}

// named reports whether the device matters by what it is, before any route or
// address tells. Every vxlan device does: one with a wrong VNI is a finding.
func (i *interest) named(l netstate.Link) bool {
	return l.Kind == kindVXLAN || slices.Contains(i.Tunnels, l.Name) || slices.Contains(i.Devices, l.Name)
}

// coversPublicIP reports whether one of the peers' tunnel endpoints lies inside p.
func (i *interest) coversPublicIP(p netip.Prefix) bool {
	n, _ := slices.BinarySearchFunc(i.publicIPs, p.Addr(), netip.Addr.Compare)
	return n < len(i.publicIPs) && p.Contains(i.publicIPs[n])
}

// keeps reports whether a route belongs into the picture: one that says
// something about a subnet, or that may be flannel's own.
func (i *interest) keeps(r netstate.Route, viaFlannel bool) bool {
	if i.subnets.overlaps(r.Dst) || i.inNetwork(r.Dst) {
		return true
	}
	dst := r.Dst.Addr()
	return viaFlannel && r.Type == netstate.Unicast && !dst.IsMulticast() && !dst.IsLinkLocalUnicast()
}

// inNetwork reports whether p is a part of a pod network.
func (i *interest) inNetwork(p netip.Prefix) bool {
	return slices.ContainsFunc(i.Networks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) })
}

// flannelDevices returns the indexes of the flannel devices.
func (i *interest) flannelDevices(links []netstate.Link) []int { return indexes(links, i.flannel) }

// vteps returns the indexes of those of vxlan.
func (i *interest) vteps(links []netstate.Link) []int { return indexes(links, i.vtep) }

func indexes(links []netstate.Link, of func(netstate.Link) bool) []int {
	var devices []int
	for _, l := range links {
		if of(l) {
			devices = append(devices, l.Index)
		}
	}
	return devices
}
