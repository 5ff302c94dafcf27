package expect

import (
	"cmp"
	"fmt"

	"routewatch/shared/lease"
)

// vxlan fills in what flannel programs for a peer's lease
// (pkg/backend/vxlan/vxlan_network.go): a route for the subnet through its own
// network address, onlink, on flannel.<VNI> (flannel-v6.<VNI>); the permanent
// neighbor of that address with the peer's VTEP MAC; and the FDB entry from
// that MAC to the peer's public IP.
//
// With DirectRouting and a peer on the same link the route goes via the public
// IP instead, with no neighbor and no FDB entry. flannel decides that once, by
// a lookup at the time of the event, so either form is right at any time.
func vxlan(chain *Chain, c Config, set *lease.Set) {
	l := chain.Lease
	chain.VNI = cmp.Or(c.VNIOf(set, l.Family), l.VNI, defaultVNI)
	if l.VNI != 0 && l.VNI != chain.VNI {
		chain.VNIMismatch = fmt.Sprintf("the peer's VNI is %d, this node's is %d: the peer drops its packets", l.VNI, chain.VNI)
	}
	tunnel := Form{
		Name:        "vxlan",
		Gateway:     l.Subnet.Addr(),
		Tunnel:      true,
		NeighborMAC: l.MAC,
		FDBDst:      l.PublicIP,
	}
	direct := Form{Name: "direct", Gateway: l.PublicIP}
	switch {
	case c.DirectRouting == nil:
		chain.Forms = []Form{tunnel, direct}
	case *c.DirectRouting:
		chain.Forms = []Form{direct, tunnel}
	default:
		chain.Forms = []Form{tunnel}
	}
}

// defaultVNI is flannel's; before v0.14 it did not publish the VNI.
const defaultVNI = 1
