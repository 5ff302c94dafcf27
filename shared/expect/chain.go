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
	// Unknown says why it cannot be checked; empty otherwise.
	Unknown string
	// VNIMismatch says that the lease's VNI is not this node's; empty otherwise.
	VNIMismatch string
	// VNI identifies the flannel device that the tunnel form uses, with vxlan; 0 otherwise.
	VNI uint32
	// Devices are the names that the flannel device may have, the one that
	// flannel would choose first. Empty: the backend has none.
	Devices []string
	// Forms are the accepted ways to reach the subnet, the one that flannel
	// would choose first; each alone is right. At most one of them is a tunnel.
	Forms []Form
}

// Tunnel returns the form that goes through the flannel device.
func (c *Chain) Tunnel() (*Form, bool) {
	for i := range c.Forms {
		if c.Forms[i].Tunnel {
			return &c.Forms[i], true
		}
	}
	return nil, false
}

// Form is one accepted way to reach a lease's subnet.
type Form struct {
	Name string // "vxlan", "ipip", "udp", "wireguard", "host-gw" or "direct"
	// Dst is the destination of the route: the subnet or, if Wide, the pod
	// network, which has one route for all leases. Zero: a pod network that is
	// not known, so any route that covers the subnet will do.
	Dst  netip.Prefix
	Wide bool
	// Gateway of the route; invalid if it has none.
	Gateway netip.Addr
	// Tunnel: the route leaves by the flannel device. Otherwise it leaves by the
	// device that leads to the peer, which must be on the same link.
	Tunnel bool
	// OnLink: flannel sets the onlink flag, so the kernel does not ask whether
	// the gateway is reachable.
	OnLink bool
	// NeighborMAC is the permanent neighbor of Gateway on the flannel device;
	// FDBDst is where that MAC's forwarding entry points. The vxlan form only.
	NeighborMAC netstate.MAC
	FDBDst      netip.Addr
	// Peer is the WireGuard peer; nil with another form.
	Peer *Peer
}

// Peer is the WireGuard peer that a lease needs.
type Peer struct {
	PublicKey string // base64
	// Endpoints are the addresses that flannel may have chosen.
	Endpoints []netip.Addr
	Port      uint16 // 0 unknown: flannel before v0.26.6 did not publish it
}

// Accepts reports whether the endpoint is one that flannel may have chosen.
func (p Peer) Accepts(endpoint netip.AddrPort) bool {
	return slices.Contains(p.Endpoints, endpoint.Addr()) && (p.Port == 0 || endpoint.Port() == p.Port)
}

// ChainOf returns the chain of one lease of the set.
func ChainOf(c Config, set *lease.Set, l lease.Lease) Chain {
	chain := Chain{Lease: l}
	own, backend := c.BackendOf(set), l.BackendType
	if backend == "" && publishesNothing(own) {
		backend = own
	}
	switch {
	case own != "" && backend != own:
		chain.Unsupported = fmt.Sprintf("the peer's backend is %q, this node's is %q: flannel skips it", backend, own)
	case slices.Contains(nothingInKernel, backend):
		chain.Unsupported = fmt.Sprintf("backend %q keeps no routes of its own in the kernel", backend)
	case backend == "":
		chain.Unknown = "the lease names no backend, as with udp, alloc and tencent-vpc: " +
			"give the exporter --flannel.backend, or flannel's configuration with --flannel.net-conf"
	case l.Family == netstate.IPv6 && slices.Contains(onlyIPv4, backend):
		chain.Unsupported = fmt.Sprintf("backend %q does not serve IPv6", backend)
	case !Judged(backend):
		chain.Unknown = fmt.Sprintf("backend %q is not checked by this version", backend)
	default:
		chain.program(backend, c, set)
	}
	return chain
}

// program fills in what the backend programs for the lease.
func (c *Chain) program(backend string, config Config, set *lease.Set) {
	switch backend {
	case "vxlan":
		c.vxlan(config, set)
	case "host-gw":
		c.hostGW()
	case "ipip":
		c.ipip(config)
	case "udp":
		c.udp(config)
	case "wireguard":
		c.wireguard(config, set)
	}
	c.Devices = deviceNames(backend, c.Lease.Family, c.VNI, config.WireGuardMode)
}

// Judged reports whether routewatch knows what the backend programs.
func Judged(backend string) bool {
	return slices.Contains([]string{"vxlan", "host-gw", "ipip", "udp", "wireguard"}, backend)
}

// nothingInKernel are the backends that program nothing for a lease that could
// be compared (alloc and tencent-vpc leave it to the cloud, ipsec to policies,
// extension to commands of the administrator's).
var nothingInKernel = []string{"alloc", "extension", "ipsec", "tencent-vpc"}

var onlyIPv4 = []string{"ipip", "udp"}

// publishesNothing: the backend leaves backend-type empty (udp_amd64.go,
// alloc.go, tencentvpc.go), so only the configuration tells it.
func publishesNothing(backend string) bool {
	return backend == "udp" || backend == "alloc" || backend == "tencent-vpc"
}

// direct is the form without a tunnel: via the peer itself.
func direct(l lease.Lease, name string) Form {
	return Form{Name: name, Dst: l.Subnet, Gateway: l.PublicIP}
}

// choose orders the forms of a backend that can leave its tunnel out where a
// peer is on the same link (DirectRouting). flannel decides that once, by a
// lookup at the time of the event, so either form is right at any time.
func choose(directRouting *bool, tunnel, direct Form) []Form {
	switch {
	case directRouting == nil:
		return []Form{tunnel, direct}
	case *directRouting:
		return []Form{direct, tunnel}
	}
	return []Form{tunnel}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
