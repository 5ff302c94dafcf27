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
	subnets              prefixSet
	own                  []netip.Prefix // subnets that are not a peer's
	peers                prefixSet
	networks             prefixSet
	subnetList, peerList prefixList
	publicIPs            []netip.Addr   // sorted
	inputs               []netip.Prefix // the peers that forwarded traffic is looked up for
	spans                *spans         // of what is kept in a dump
	// destinations are the parts of the filter for events that tell whether a
	// route's destination matters; none for a family without any that does.
	destinations map[netstate.Family]code
}

func newInterest(in expect.Interest) *interest {
	i := &interest{
		Interest: in, subnets: newPrefixSet(in.Subnets), peers: newPrefixSet(in.Peers), networks: newPrefixSet(in.Networks),
		subnetList: newPrefixList(in.Subnets), peerList: newPrefixList(in.Peers),
		publicIPs: slices.Clone(in.PublicIPs),
	}
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
	i.spans = i.spansOf()
	i.destinations = i.destinationTests()
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

// flannel reports whether the device is a flannel device, whatever its name.
func (i *interest) flannel(l netstate.Link) bool {
	if l.Kind == kindVXLAN {
		return slices.Contains(i.VNIs, l.VXLAN.VNI)
	}
	return slices.Contains(i.Tunnels, l.Name)
}

// named reports whether the device matters by what it is, before any route or
// address tells. Every vxlan device does: one with a wrong VNI is a finding.
func (i *interest) named(l netstate.Link) bool {
	return l.Kind == kindVXLAN || slices.Contains(i.Devices, l.Name) || slices.Contains(i.Tunnels, l.Name)
}

// tells reports whether the device that has the address matters, whatever it is:
// pods may be behind it, or routes without a tunnel leave by it.
func (i *interest) tells(a netip.Addr) bool {
	return i.subnets.covers(a) || slices.Contains(i.External, a)
}

// coversPublicIP reports whether one of the peers' tunnel endpoints lies inside p.
func (i *interest) coversPublicIP(p netip.Prefix) bool {
	n, _ := slices.BinarySearchFunc(i.publicIPs, p.Addr(), netip.Addr.Compare)
	return n < len(i.publicIPs) && p.Contains(i.publicIPs[n])
}

// keeps reports whether a route belongs into the picture: one that says
// something about a subnet, or that may be flannel's own. Those to the node's
// own pods do not: see podRoute.
func (i *interest) keeps(r *netstate.Route, viaFlannel bool) bool {
	switch {
	case i.subnets.overlaps(r.Dst):
		return !i.podRoute(r, viaFlannel)
	case expect.MayBeDirect(r) && i.networks.overlaps(r.Dst):
		return true
	}
	dst := r.Dst.Addr()
	return viaFlannel && r.Type == netstate.Unicast && !dst.IsMulticast() && !dst.IsLinkLocalUnicast()
}

// podRoute reports whether a route leads to pods of this node, as those do that
// a CNI plugin without a bridge sets for each: they are many, come and go, and
// say nothing of a lease.
func (i *interest) podRoute(r *netstate.Route, viaFlannel bool) bool {
	return r.Type == netstate.Unicast && r.Dst.IsSingleIP() && !r.Gateway.IsValid() && !r.Multipath && r.NextHopID == 0 && !viaFlannel &&
		slices.ContainsFunc(i.own, func(own netip.Prefix) bool { return own.Bits() < r.Dst.Bits() && own.Contains(r.Dst.Addr()) }) &&
		!i.peers.overlaps(r.Dst)
}

// touchedSubnets returns the subnets of the interest that overlap a change.
func (i *interest) touchedSubnets(changed prefixSet) []netip.Prefix {
	return i.subnetList.overlapping(changed)
}

// flannelDevices returns the indexes of the flannel devices.
func (i *interest) flannelDevices(links []netstate.Link) []int { return indexes(links, i.flannel) }

// vxlanDevices returns the indexes of those flannel devices that have neighbors
// and FDB entries for the leases.
func (i *interest) vxlanDevices(links []netstate.Link) []int { return indexes(links, i.vxlan) }

func (i *interest) vxlan(l netstate.Link) bool { return l.Kind == kindVXLAN && i.flannel(l) }

func indexes(links []netstate.Link, of func(netstate.Link) bool) []int {
	var devices []int
	for _, l := range links {
		if of(l) {
			devices = append(devices, l.Index)
		}
	}
	return devices
}
