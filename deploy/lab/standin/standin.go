//go:build linux

// Package standin stands in for flannel: it programs a node's kernel from
// leases exactly as flannel v0.28.10 does for its vxlan backend
// (pkg/backend/vxlan/vxlan_network.go, device.go) and, like flannel, it never
// looks again at what it programmed: what somebody else removes stays away.
//
// It knows leases but not routewatch's expectations, so that the two can be
// tested against each other.
package standin

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

const (
	port        = 8472 // the kernel's own default, which flannel keeps
	overhead    = 50   // bytes; flannel takes IPv4's also for IPv6, which needs 70
	metricIPv6  = 1024 // the kernel's default for IPv6
	backendType = "vxlan"
	defaultVNI  = 1
)

// Flannel is what one flanneld keeps in memory.
type Flannel struct {
	ns         *netns.NS
	own        map[netstate.Family]lease.Lease
	devices    map[netstate.Family]netstate.Link
	programmed map[lease.Key]lease.Lease
}

// Start makes the flannel device of each own lease on top of the device lower.
// A MAC in an own lease becomes the device's.
func Start(ns *netns.NS, lower string, own []lease.Lease) (*Flannel, error) {
	f := &Flannel{
		ns:         ns,
		own:        map[netstate.Family]lease.Lease{},
		devices:    map[netstate.Family]netstate.Link{},
		programmed: map[lease.Key]lease.Lease{},
	}
	below, err := ns.Link(lower)
	if err != nil {
		return nil, fmt.Errorf("start flannel's stand-in: %w", err)
	}
	for _, l := range own {
		if l.VNI == 0 {
			l.VNI = defaultVNI // flannel did not publish it before v0.14
		}
		device, err := addDevice(ns, below, l)
		if err != nil {
			return nil, fmt.Errorf("start flannel's stand-in: %w", err)
		}
		l.MAC = device.MAC
		f.own[l.Family], f.devices[l.Family] = l, device
	}
	return f, nil
}

// DeviceName returns flannel's name for the vxlan device of a family.
func DeviceName(f netstate.Family, vni uint32) string {
	if f == netstate.IPv6 {
		return fmt.Sprintf("flannel-v6.%d", vni)
	}
	return fmt.Sprintf("flannel.%d", vni)
}

func addDevice(ns *netns.NS, lower netstate.Link, own lease.Lease) (netstate.Link, error) {
	name := DeviceName(own.Family, own.VNI)
	err := ns.AddVXLAN(netns.VXLAN{
		Name: name, VNI: own.VNI, Port: port, Lower: lower.Name, Local: own.PublicIP, MTU: lower.MTU - overhead, MAC: own.MAC,
	})
	if err != nil {
		return netstate.Link{}, err
	}
	if err := ns.Sysctl("net/ipv6/conf/"+name+"/accept_ra", "0"); err != nil {
		return netstate.Link{}, err
	}
	address := own.Subnet.Masked().Addr()
	if err := ns.AddAddr(name, netip.PrefixFrom(address, address.BitLen())); err != nil {
		return netstate.Link{}, err
	}
	if err := ns.SetUp(name); err != nil {
		return netstate.Link{}, err
	}
	return ns.Link(name)
}

// Own returns the node's own leases as flannel publishes them: with the MACs
// of the devices.
func (f *Flannel) Own() []lease.Lease {
	return slices.SortedFunc(maps.Values(f.own), func(a, b lease.Lease) int { return int(a.Family) - int(b.Family) })
}

// Apply takes the peers' leases: it programs those that are new or changed and
// removes those that are gone. What it programmed before it does not touch.
func (f *Flannel) Apply(peers []lease.Lease) error {
	wanted := map[lease.Key]lease.Lease{}
	for _, l := range peers {
		if !f.ignores(l) {
			wanted[l.Key()] = l
		}
	}
	for key, l := range f.programmed {
		if _, ok := wanted[key]; ok {
			continue
		}
		if err := f.remove(l); err != nil {
			return err
		}
		delete(f.programmed, key)
	}
	for key, l := range wanted {
		if f.programmed[key] == l {
			continue
		}
		if err := f.program(l); err != nil {
			return err
		}
		f.programmed[key] = l
	}
	return nil
}

// ignores reports the leases that flannel skips: of another backend, its own
// subnet, of a family that it does not serve, and those that it cannot read.
func (f *Flannel) ignores(l lease.Lease) bool {
	own, served := f.own[l.Family]
	return !served || l.Malformed != "" || l.BackendType != backendType || l.Subnet == own.Subnet
}

// program sets what one lease needs, in flannel's order.
func (f *Flannel) program(l lease.Lease) error {
	neighbor, entry, route := f.objects(l)
	if err := f.ns.NeighReplace(neighbor); err != nil {
		return fmt.Errorf("lease %s of %s: %w", l.Subnet, l.Peer, err)
	}
	if err := f.ns.FDBReplace(entry); err != nil {
		return fmt.Errorf("lease %s of %s: %w", l.Subnet, l.Peer, err)
	}
	if err := f.ns.RouteReplace(route); err != nil {
		return fmt.Errorf("lease %s of %s: %w", l.Subnet, l.Peer, err)
	}
	return nil
}

// remove takes it away again. An object that is not there any more is no
// reason for flannel to stop: it logs that and goes on.
func (f *Flannel) remove(l lease.Lease) error {
	neighbor, entry, route := f.objects(l)
	for _, err := range []error{f.ns.NeighDel(neighbor), f.ns.FDBDel(entry), f.ns.RouteDel(route)} {
		if err != nil && !netns.IsNotThere(err) {
			return fmt.Errorf("lease %s of %s: %w", l.Subnet, l.Peer, err)
		}
	}
	return nil
}

// objects are what one lease needs on this node. The device is the own VNI's,
// whatever the lease says.
func (f *Flannel) objects(l lease.Lease) (netstate.Neighbor, netstate.FDBEntry, netstate.Route) {
	device, gateway := f.devices[l.Family].Index, l.Subnet.Addr()
	neighbor := netstate.Neighbor{Device: device, IP: gateway, MAC: l.MAC, State: netstate.NUDPermanent}
	entry := netstate.FDBEntry{Device: device, MAC: l.MAC, Dst: l.PublicIP, State: netstate.NUDPermanent}
	route := netstate.Route{Dst: l.Subnet, Gateway: gateway, Device: device, OnLink: true, Type: netstate.Unicast}
	if l.Family == netstate.IPv6 {
		route.Priority = metricIPv6
	}
	return neighbor, entry, route
}
