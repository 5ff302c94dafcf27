package expect

import "net/netip"

// Interest is what the kernel layer has to look at for a lease set. It is the
// only thing that the kernel layer knows of leases.
type Interest struct {
	// Generation is that of the lease set; the kernel layer copies it into
	// every State that it reads for this interest.
	Generation uint64
	// Subnets are the peers' subnets and the node's own: every route equal to,
	// covering or inside one of them is kept. Sorted, unique.
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
