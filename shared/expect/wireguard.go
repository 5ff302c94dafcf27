package expect

import (
	"net/netip"
	"slices"
	"strings"

	"routewatch/shared/lease"
)

// wireguard is what flannel programs for a peer's lease
// (pkg/backend/wireguard): a WireGuard peer with its key, its endpoint and its
// subnet as allowed IPs, and one route for the whole pod network on the device.
//
// In mode separate there is a device for each family, and the endpoint is of
// that family. In the others flannel-wg serves both, a peer's two subnets are
// allowed for one peer, and its endpoint is either of its public IPs.
func (c *Chain) wireguard(config Config, set *lease.Set) {
	l := c.Lease
	network, _ := config.NetworkOf(l.Subnet)
	peer := &Peer{PublicKey: l.PublicKey, Port: l.Port, Endpoints: []netip.Addr{l.PublicIP}}
	if config.WireGuardMode != separate {
		for _, other := range leasesOf(set, l.Peer) {
			if other.Family != l.Family && other.PublicIP.IsValid() {
				peer.Endpoints = append(peer.Endpoints, other.PublicIP)
				peer.Port = 0 // that of the endpoint's family, whichever it is
			}
		}
	}
	c.Forms = []Form{{Name: "wireguard", Dst: network, Wide: true, Tunnel: true, Peer: peer}}
}

// separate is flannel's default mode (wireguard.go, Mode).
const separate = "separate"

// leasesOf returns the leases of one peer.
func leasesOf(set *lease.Set, peer string) []lease.Lease {
	i, _ := slices.BinarySearchFunc(set.Leases, peer, func(l lease.Lease, peer string) int { return strings.Compare(l.Peer, peer) })
	n := i
	for n < len(set.Leases) && set.Leases[n].Peer == peer {
		n++
	}
	return set.Leases[i:n]
}
