package expect

import (
	"cmp"
	"fmt"

	"routewatch/shared/lease"
)

// vxlan is what flannel programs for a peer's lease
// (pkg/backend/vxlan/vxlan_network.go): a route for the subnet through its own
// network address, onlink, on flannel.<VNI> (flannel-v6.<VNI>); the permanent
// neighbor of that address with the peer's VTEP MAC; and the FDB entry from
// that MAC to the peer's public IP.
//
// With DirectRouting and a peer on the same link the route goes via the public
// IP instead, with no neighbor and no FDB entry.
func (c *Chain) vxlan(config Config, set *lease.Set) {
	l := c.Lease
	c.VNI = cmp.Or(config.VNIOf(set, l.Family), l.VNI, defaultVNI)
	if l.VNI != 0 && l.VNI != c.VNI {
		c.VNIMismatch = fmt.Sprintf("the peer's VNI is %d, this node's is %d: the peer drops its packets", l.VNI, c.VNI)
	}
	c.Forms = choose(config.DirectRouting, Form{
		Name: "vxlan", Dst: l.Subnet, Gateway: l.Subnet.Addr(), Tunnel: true, OnLink: true,
		NeighborMAC: l.MAC, FDBDst: l.PublicIP,
	}, direct(l, "direct"))
}

// defaultVNI is flannel's; before v0.14 it did not publish the VNI.
const defaultVNI = 1
