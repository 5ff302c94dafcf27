//go:build linux

// Package topology builds Kubernetes nodes as network namespaces: real veth,
// bridge and vxlan devices, a pod behind each node, one switch, one gateway.
//
//	pod 10.244.1.2        pod 10.244.2.2
//	 | cni0 10.244.1.1     | cni0 10.244.2.1
//	node-1 flannel.1      node-2 flannel.1        gateway 192.168.1.1:
//	 | ens33               | ens33                 | the default route of every node
//	=+=====================+==== switch ===========+=
//
// A test that needs one node whose kernel agrees with a lease set calls Single.
package topology

import (
	"errors"
	"fmt"
	"net/netip"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/standin"
	"routewatch/shared/lease"
)

// Underlay is the device of every node that leads to the switch.
const Underlay = "ens33"

// vxlanOverhead is what flannel's vxlan backend takes off the MTU, in bytes.
const vxlanOverhead = 50

const (
	bridge = "br0"
	cni    = "cni0"
	eth    = "eth0"
)

// Network is a switch with a gateway and nodes on it.
type Network struct {
	Gateway  *netns.NS // its device eth0 sees what leaks to the default route
	gateways []netip.Prefix
	fabric   *netns.NS // the switch
	nodes    []*Node
}

// Node is one Kubernetes node.
type Node struct {
	Name    string
	NS      *netns.NS
	Pod     *netns.NS        // a pod on the node: the third address of each own subnet
	Flannel *standin.Flannel // nil on a node that AddMachine made
	fabric  *netns.NS        // the switch, whose port has the node's name
}

// Unplug pulls the node's cable: its underlay device stays up and loses its carrier.
func (n *Node) Unplug() error { return n.fabric.SetDown(n.Name) }

// Plug puts the cable back.
func (n *Node) Plug() error { return n.fabric.SetUp(n.Name) }

// New makes a switch and a gateway with an address in each underlay network,
// e.g. 192.168.1.1/24 and fd00:192:168:1::1/64.
func New(gateways ...netip.Prefix) (*Network, error) {
	n := &Network{gateways: gateways}
	if err := n.build(); err != nil {
		n.Close()
		return nil, fmt.Errorf("build the underlay: %w", err)
	}
	return n, nil
}

func (n *Network) build() (err error) {
	if n.fabric, err = netns.New(); err != nil {
		return err
	}
	if n.Gateway, err = netns.New(); err != nil {
		return err
	}
	if err := withoutDAD(n.Gateway); err != nil {
		return err
	}
	if err := n.fabric.AddBridge(bridge); err != nil {
		return err
	}
	if err := n.fabric.SetUp(bridge); err != nil {
		return err
	}
	return n.plug(n.Gateway, eth, "gateway", n.gateways)
}

// plug connects a namespace to the switch.
func (n *Network) plug(ns *netns.NS, device, port string, addrs []netip.Prefix) error {
	if err := n.fabric.AddVeth(port, ns, device); err != nil {
		return err
	}
	if err := n.fabric.SetMaster(port, bridge); err != nil {
		return err
	}
	if err := n.fabric.SetUp(port); err != nil {
		return err
	}
	return bringUp(ns, device, addrs)
}

// AddNode makes a node with its own leases: their public IPs on the underlay,
// their subnets on flannel's device and cni0, their MACs (if set) on flannel's
// devices. Peers are programmed by Node.Flannel.Apply.
func (n *Network) AddNode(name string, own []lease.Lease) (*Node, error) {
	var publicIPs []netip.Addr
	var subnets []netip.Prefix
	for _, l := range own {
		publicIPs, subnets = append(publicIPs, l.PublicIP), append(subnets, l.Subnet)
	}
	node, err := n.AddMachine(name, publicIPs)
	if err != nil {
		return nil, err
	}
	if node.Flannel, err = standin.Start(node.NS, Underlay, own); err != nil {
		return nil, fmt.Errorf("start flannel on %s: %w", name, err)
	}
	lower, err := node.NS.Link(Underlay)
	if err != nil {
		return nil, err
	}
	return node, node.AddPod(subnets, lower.MTU-vxlanOverhead)
}

// AddMachine makes a node without flannel and without a pod: its public IPs on
// the underlay, default routes, and a namespace for the pod.
func (n *Network) AddMachine(name string, publicIPs []netip.Addr) (*Node, error) {
	node := &Node{Name: name, fabric: n.fabric}
	n.nodes = append(n.nodes, node)
	if err := n.buildMachine(node, publicIPs); err != nil {
		return nil, fmt.Errorf("build %s: %w", name, err)
	}
	return node, nil
}

func (n *Network) buildMachine(node *Node, publicIPs []netip.Addr) (err error) {
	if node.NS, err = netns.New(); err != nil {
		return err
	}
	if node.Pod, err = netns.New(); err != nil {
		return err
	}
	if err := errors.Join(withoutDAD(node.NS), withoutDAD(node.Pod), asRouter(node.NS)); err != nil {
		return err
	}
	return n.connect(node, publicIPs)
}

// connect gives the node its public IPs and the default routes.
func (n *Network) connect(node *Node, publicIPs []netip.Addr) error {
	var addrs []netip.Prefix
	for _, ip := range publicIPs {
		gw, err := n.gatewayOf(ip)
		if err != nil {
			return err
		}
		addrs = append(addrs, netip.PrefixFrom(ip, gw.Bits()))
	}
	if err := n.plug(node.NS, Underlay, node.Name, addrs); err != nil {
		return err
	}
	for _, a := range addrs {
		gw, err := n.gatewayOf(a.Addr())
		if err != nil {
			return err
		}
		if err := addDefault(node.NS, Underlay, gw.Addr()); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) gatewayOf(a netip.Addr) (netip.Prefix, error) {
	for _, gw := range n.gateways {
		if gw.Contains(a) {
			return gw, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("public IP %s is in none of the underlay's networks %v", a, n.gateways)
}

// Close removes everything.
func (n *Network) Close() {
	namespaces := []*netns.NS{n.Gateway, n.fabric}
	for _, node := range n.nodes {
		namespaces = append(namespaces, node.NS, node.Pod)
	}
	for _, ns := range namespaces {
		if ns != nil {
			ns.Close()
		}
	}
}
