package expect

import (
	"net/netip"
	"slices"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// Interest is what the kernel layer has to look at for a lease set. It is the
// only thing that the kernel layer knows of leases.
type Interest struct {
	// Generation is that of the lease set; the kernel layer copies it into
	// every State that it reads for this interest.
	Generation uint64
	// Subnets are the peers' subnets and the node's own: every route equal to,
	// covering or inside one of them is kept, but of those to the node's own pods
	// only one a family. Sorted, unique.
	Subnets []netip.Prefix
	// Peers are the peers' subnets only. The kernel layer asks for a lookup of
	// PodAddress of each, plain and from the node's own address (see Sources).
	Peers []netip.Prefix
	// PublicIPs are the peers' tunnel endpoints: a plain lookup each. Sorted, unique.
	PublicIPs []netip.Addr
	// Sources is the node's own flannel address of each family, the source of
	// the second lookup; a family may be absent.
	Sources []netip.Addr
	// VNIs are the flannel vxlan devices: every vxlan device with one of these
	// identifiers is a flannel device, whatever its name. Their neighbors, FDB
	// entries and all routes through them are read.
	VNIs []uint32
	// Tunnels are the names of flannel's devices that are not vxlan, e.g.
	// "flannel0": all routes through them are read. They have no neighbors and no
	// FDB entries of flannel's.
	Tunnels []string
	// WireGuard are those Tunnels whose WireGuard peers are read.
	WireGuard []string
	// Networks are the pod networks, if known: every route inside one that has the
	// form of flannel's for a lease without a tunnel (see MayBeDirect) is kept, as
	// it may be one that no lease explains. At most one a family.
	Networks []netip.Prefix
	// External are the node's own public IPs: routes without a tunnel leave by the
	// device that has one, and its settings are read.
	External []netip.Addr
	// Devices are names of further devices to watch, e.g. "cni0".
	Devices []string
}

// PodAddress returns the address that stands for a pod in the subnet: the
// third one (the first is the vxlan gateway, the second cni0), or the last
// one of a subnet that is too small.
func PodAddress(subnet netip.Prefix) netip.Addr {
	a := subnet.Addr()
	for range 2 {
		if next := a.Next(); next.IsValid() && subnet.Contains(next) {
			a = next
		}
	}
	return a
}

// InterestOf returns what the kernel layer has to look at for a lease set.
func InterestOf(c Config, set *lease.Set) Interest {
	in := Interest{Generation: set.Generation, Devices: []string{"cni0"}}
	backend := c.BackendOf(set)
	for _, own := range set.Own {
		if !own.Subnet.IsValid() {
			continue
		}
		in.Subnets = append(in.Subnets, own.Subnet)
		in.Sources = append(in.Sources, own.Subnet.Addr())
		if own.PublicIP.IsValid() {
			in.External = append(in.External, own.PublicIP)
		}
		vni := c.VNIOf(set, own.Family)
		in.addDevices(backend, vni, c.DevicesOf(set, own.Family, vni))
	}
	for _, l := range set.Leases {
		if !l.Subnet.IsValid() {
			continue
		}
		in.Subnets = append(in.Subnets, l.Subnet)
		in.Peers = append(in.Peers, l.Subnet)
		if l.PublicIP.IsValid() {
			in.PublicIPs = append(in.PublicIPs, l.PublicIP)
		}
		chain := ChainOf(c, set, l)
		in.addDevices(or(l.BackendType, backend), chain.VNI, chain.Devices)
	}
	if backend == "" {
		in.addDevices("udp", 0, TUNNames())
	}
	if c.GoesDirect(backend) {
		in.Networks = slices.Clone(c.Network)
	}
	in.Subnets = sortedUnique(in.Subnets, netip.Prefix.Compare)
	in.Peers = sortedUnique(in.Peers, netip.Prefix.Compare)
	in.PublicIPs = sortedUnique(in.PublicIPs, netip.Addr.Compare)
	return in
}

// MayBeDirect reports whether a route has the form that flannel gives one for a
// lease without a tunnel: via a node, in table main, and with protocol boot,
// as flannel writes it. Other programs' routes are among them.
func MayBeDirect(r *netstate.Route) bool {
	return r.Type == netstate.Unicast && r.Table == netstate.TableMain && r.Protocol == protocolBoot &&
		!r.Multipath && r.Gateway.IsValid() && r.Gateway != r.Dst.Addr()
}

// protocolBoot marks the routes that a program made without saying who it is
// (RTPROT_BOOT), as flannel does.
const protocolBoot = 3

// GoesDirect reports whether flannel may put routes on the node's own devices,
// among those of other programs.
func (c Config) GoesDirect(backend string) bool {
	switch backend {
	case "host-gw":
		return true
	case "vxlan", "ipip":
		return c.DirectRouting == nil || *c.DirectRouting
	}
	return false
}

// addDevices adds flannel devices; those of vxlan by their VNI, and also by
// their names, so that their appearing is noticed.
func (in *Interest) addDevices(backend string, vni uint32, names []string) {
	switch {
	case backend != "vxlan":
		for _, name := range names {
			if slices.Contains(in.Tunnels, name) {
				continue
			}
			in.Tunnels = append(in.Tunnels, name)
			if backend == "wireguard" {
				in.WireGuard = append(in.WireGuard, name)
			}
		}
	case vni != 0 && !slices.Contains(in.VNIs, vni):
		in.VNIs = append(in.VNIs, vni)
		in.Devices = append(in.Devices, DeviceName(netstate.IPv4, vni), DeviceName(netstate.IPv6, vni))
	}
}

func sortedUnique[T comparable](s []T, compare func(a, b T) int) []T {
	slices.SortFunc(s, compare)
	return slices.Compact(s)
}
