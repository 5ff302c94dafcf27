//go:build linux

package topology

import (
	"errors"
	"net/netip"
	"testing"

	"routewatch/deploy/lab/netns"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

// withoutDAD makes IPv6 addresses usable at once; duplicate address detection
// would take a second or two of every start.
func withoutDAD(ns *netns.NS) error {
	return ns.Sysctl("net.ipv6.conf.default.accept_dad", "0")
}

// asRouter lets a node forward for its pods. The reverse path filter may be
// inherited from the host, where it is often strict.
func asRouter(ns *netns.NS) error {
	return errors.Join(
		ns.Sysctl("net.ipv4.ip_forward", "1"),
		ns.Sysctl("net.ipv6.conf.all.forwarding", "1"),
		ns.Sysctl("net.ipv4.conf.all.rp_filter", "0"),
		ns.Sysctl("net.ipv4.conf.default.rp_filter", "0"),
	)
}

// AddPod does what the CNI plugins flannel and bridge do for a node's first
// pod: cni0 takes the second address of each subnet, the pod the third, and
// both the MTU, in bytes.
func (n *Node) AddPod(subnets []netip.Prefix, mtu int) error {
	if err := n.NS.AddBridge(cni); err != nil {
		return err
	}
	// As the plugin does it: else the bridge takes the lowest MAC of its ports,
	// and pods would go on with one that it had.
	first := subnets[0].Addr().Next().AsSlice()
	if err := n.NS.SetMAC(cni, netstate.MAC(append([]byte{0x0a, 0x58}, first[len(first)-4:]...))); err != nil {
		return err
	}
	if err := n.NS.AddVeth("veth0", n.Pod, eth); err != nil {
		return err
	}
	err := errors.Join(
		n.NS.SetMaster("veth0", cni), n.NS.SetUp("veth0"),
		n.NS.SetMTU("veth0", mtu), n.NS.SetMTU(cni, mtu), n.Pod.SetMTU(eth, mtu),
	)
	if err != nil {
		return err
	}
	var bridgeAddrs, podAddrs []netip.Prefix
	for _, subnet := range subnets {
		first := subnet.Addr().Next()
		bridgeAddrs = append(bridgeAddrs, netip.PrefixFrom(first, subnet.Bits()))
		podAddrs = append(podAddrs, netip.PrefixFrom(first.Next(), subnet.Bits()))
	}
	if err := errors.Join(bringUp(n.NS, cni, bridgeAddrs), bringUp(n.Pod, eth, podAddrs)); err != nil {
		return err
	}
	for _, a := range bridgeAddrs {
		if err := addDefault(n.Pod, eth, a.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// Calico's own values (felix): every workload's device has one MAC, and the
// pod's default route goes via an address that nobody has.
var (
	caliMAC     = netstate.MAC{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
	caliGateway = netip.MustParseAddr("169.254.1.1")
)

const cali = "cali1"

// AddRoutedPod does what canal's calico does for a node's first pod, IPv4 only:
// there is no bridge, but a device and a route for each pod. It has the third
// address of the subnet here as well.
func (n *Node) AddRoutedPod(subnet netip.Prefix, mtu int) error {
	addr := subnet.Addr().Next().Next()
	if err := n.NS.AddVeth(cali, n.Pod, eth); err != nil {
		return err
	}
	err := errors.Join(
		n.NS.SetMAC(cali, caliMAC), n.NS.SetMTU(cali, mtu), n.Pod.SetMTU(eth, mtu), n.NS.SetUp(cali),
		bringUp(n.Pod, eth, []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}),
	)
	if err != nil {
		return err
	}
	outside, err := n.NS.LinkIndex(cali)
	if err != nil {
		return err
	}
	inside, err := n.Pod.LinkIndex(eth)
	if err != nil {
		return err
	}
	return errors.Join(
		n.NS.RouteAdd(netstate.Route{Dst: netip.PrefixFrom(addr, addr.BitLen()), Device: outside}),
		// Where calico has the node answer for it by proxy ARP.
		n.Pod.NeighReplace(netstate.Neighbor{IP: caliGateway, Device: inside, MAC: caliMAC}),
		n.Pod.RouteAdd(netstate.Route{
			Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: caliGateway, Device: inside, OnLink: true,
		}),
	)
}

func bringUp(ns *netns.NS, device string, addrs []netip.Prefix) error {
	for _, a := range addrs {
		if err := ns.AddAddr(device, a); err != nil {
			return err
		}
	}
	return ns.SetUp(device)
}

func addDefault(ns *netns.NS, device string, gw netip.Addr) error {
	index, err := ns.LinkIndex(device)
	if err != nil {
		return err
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if gw.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return ns.RouteAdd(netstate.Route{Dst: everything, Gateway: gw, Device: index})
}

// Single makes the node that a lease set belongs to, with its kernel in the
// state that flannel leaves behind for the set, for the length of a test. The
// MACs of the set become those of its devices.
func Single(tb testing.TB, set *lease.Set) *Node {
	tb.Helper()
	netns.Require(tb)
	n, err := New(gatewaysOf(set.Own)...)
	netns.Must(tb, err)
	tb.Cleanup(n.Close)
	node, err := n.AddNode(set.Self, set.Own)
	netns.Must(tb, err)
	netns.Must(tb, node.Flannel.Apply(set.Leases))
	return node
}

// gatewaysOf invents the gateway of the /24 or /64 around each public IP.
func gatewaysOf(own []lease.Lease) []netip.Prefix {
	var gateways []netip.Prefix
	for _, l := range own {
		bits := 24
		if l.PublicIP.Is6() {
			bits = 64
		}
		gw := netip.PrefixFrom(l.PublicIP, bits).Masked().Addr().Next()
		if gw == l.PublicIP {
			gw = gw.Next()
		}
		gateways = append(gateways, netip.PrefixFrom(gw, bits))
	}
	return gateways
}
