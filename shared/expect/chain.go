package expect

import (
	"fmt"
	"net/netip"
	"slices"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// Chain is what one lease needs in the kernel for its packets to arrive.
type Chain struct {
	Lease lease.Lease
	// Unsupported says why there is nothing to check; empty otherwise.
	Unsupported string
	// Unknown says why this version cannot check it; empty otherwise.
	Unknown string
	// VNIMismatch says that the lease's VNI is not this node's; empty otherwise.
	VNIMismatch string
	// VNI identifies the flannel device that the tunnel form uses.
	VNI uint32
	// Forms are the accepted ways to reach the subnet, the one that flannel
	// would choose first; each alone is right. One of them is the tunnel.
	Forms []Form
}

// Tunnel returns the form that goes through the flannel device.
func (c Chain) Tunnel() Form {
	for _, f := range c.Forms {
		if f.Tunnel {
			return f
		}
	}
	return Form{}
}

// Form is one accepted way to reach a lease's subnet.
type Form struct {
	Name string // "vxlan" or "direct"
	// Gateway of the route for the subnet.
	Gateway netip.Addr
	// Tunnel: the route leaves by the flannel device, with the onlink flag;
	// otherwise by the device that the lookup of the public IP takes, which
	// must have no gateway.
	Tunnel bool
	// NeighborMAC is the permanent neighbor of Gateway on the flannel device;
	// FDBDst is where that MAC's forwarding entry points. Tunnel forms only.
	NeighborMAC netstate.MAC
	FDBDst      netip.Addr
}

// ChainOf returns the chain of one lease of the set.
func ChainOf(c Config, set *lease.Set, l lease.Lease) Chain {
	chain := Chain{Lease: l}
	own := c.BackendOf(set)
	switch {
	case own != "" && l.BackendType != own:
		chain.Unsupported = fmt.Sprintf("the peer's backend is %q, this node's is %q: flannel skips it", l.BackendType, own)
	case l.BackendType == "vxlan":
		vxlan(&chain, c, set)
	case slices.Contains(nothingInKernel, l.BackendType):
		chain.Unsupported = fmt.Sprintf("backend %q keeps no routes of its own in the kernel", l.BackendType)
	case l.BackendType == "":
		chain.Unknown = "the Node names no backend, as with udp, alloc and tencent-vpc: this version cannot tell them apart"
	default:
		chain.Unknown = fmt.Sprintf("backend %q is not checked by this version", l.BackendType)
	}
	return chain
}

// nothingInKernel are the backends that program nothing for a lease that could
// be compared (alloc and tencent-vpc leave it to the cloud, ipsec to policies,
// extension to commands of the administrator's).
var nothingInKernel = []string{"alloc", "extension", "ipsec", "tencent-vpc"}
