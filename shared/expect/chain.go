package expect

import (
	"fmt"
	"net/netip"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// Chain is what one lease needs in the kernel for its packets to arrive.
type Chain struct {
	Lease lease.Lease
	// Unsupported says why there is nothing to check; empty otherwise.
	Unsupported string
	// VNIMismatch says that the lease's VNI is not this node's; empty otherwise.
	VNIMismatch string
	// VNI identifies the flannel device that the tunnel form uses.
	VNI uint32
	// Forms are the accepted ways to reach the subnet; each alone is right.
	Forms []Form
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
	default:
		chain.Unsupported = fmt.Sprintf("backend %q is not checked by this version", l.BackendType)
	}
	return chain
}
