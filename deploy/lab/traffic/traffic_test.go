//go:build linux

package traffic_test

import (
	"fmt"
	"net/netip"
	"testing"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
	"routewatch/deploy/lab/traffic"
	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

func TestMain(m *testing.M) { netns.Main(m) }

func leases(n int) []lease.Lease {
	return []lease.Lease{
		{Peer: fmt.Sprintf("node-%d", n), Family: netstate.IPv4, BackendType: "vxlan", VNI: 1, MAC: netstate.MAC{2, 4, 0, 0, 0, byte(n)},
			Subnet: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", n)), PublicIP: netip.MustParseAddr(fmt.Sprintf("192.168.1.5%d", n))},
		{Peer: fmt.Sprintf("node-%d", n), Family: netstate.IPv6, BackendType: "vxlan", VNI: 1, MAC: netstate.MAC{2, 6, 0, 0, 0, byte(n)},
			Subnet: netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", n)), PublicIP: netip.MustParseAddr(fmt.Sprintf("fd00:192:168:1::5%d", n))},
	}
}

// network is three nodes as flannel leaves them, and a watch of them.
func network(t *testing.T) (*traffic.Watch, map[string]*topology.Node) {
	t.Helper()
	netns.Require(t)
	lab, err := topology.New(netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("fd00:192:168:1::1/64"))
	netns.Must(t, err)
	t.Cleanup(lab.Close)
	w, err := traffic.New(lab.Gateway)
	netns.Must(t, err)
	t.Cleanup(w.Close)
	nodes := map[string]*topology.Node{}
	for i := 1; i <= 3; i++ {
		n, err := lab.AddNode(fmt.Sprintf("node-%d", i), leases(i))
		netns.Must(t, err)
		for other := 1; other <= 3; other++ {
			if other != i {
				netns.Must(t, n.Flannel.Apply(append(leases(other), leases(6-i-other)...)))
			}
		}
		netns.Must(t, w.Add(traffic.Node{Name: n.Name, NS: n.NS, Pod: n.Pod, Pods: map[netstate.Family]netip.Addr{
			netstate.IPv4: leases(i)[0].Subnet.Addr().Next().Next(), netstate.IPv6: leases(i)[1].Subnet.Addr().Next().Next(),
		}}))
		nodes[n.Name] = n
	}
	return w, nodes
}

func peerRoute(t *testing.T, n *topology.Node, family netstate.Family) netstate.Route {
	s, device := leases(2)[0].Subnet, "flannel.1"
	if family == netstate.IPv6 {
		s, device = leases(2)[1].Subnet, "flannel-v6.1"
	}
	return netstate.Route{Dst: s, Gateway: s.Addr(), Device: n.NS.MustIndex(t, device), OnLink: true}
}

// Each path, on a fault that node-1 has on its way to node-2.
func TestWatch_Path(t *testing.T) {
	for name, test := range map[string]struct {
		fault func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error
		want  string
	}{
		"nothing": {nil, "arrived"},
		"no route": {func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			return nodes["node-1"].NS.RouteDel(peerRoute(t, nodes["node-1"], f))
		}, "leaked"},
		"blackhole": {func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			r := peerRoute(t, nodes["node-1"], f)
			if err := nodes["node-1"].NS.RouteDel(r); err != nil {
				return err
			}
			return nodes["node-1"].NS.RouteAdd(netstate.Route{Dst: r.Dst, Type: netstate.Blackhole})
		}, "nowhere"},
		"FDB entry of another node": {func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			two, three, r := leases(2)[0], leases(3)[0], peerRoute(t, nodes["node-1"], f)
			if f == netstate.IPv6 {
				two, three = leases(2)[1], leases(3)[1]
			}
			return nodes["node-1"].NS.FDBReplace(netstate.FDBEntry{Device: r.Device, MAC: two.MAC, Dst: three.PublicIP})
		}, "nowhere"},
		"neighbor with the MAC of nobody": {func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			r := peerRoute(t, nodes["node-1"], f)
			return nodes["node-1"].NS.NeighReplace(netstate.Neighbor{Device: r.Device, IP: r.Gateway, MAC: netstate.MAC{2, 9, 9, 9, 9, 9}})
		}, "nowhere"},
		"the pod is gone": {func(_ *testing.T, nodes map[string]*topology.Node, _ netstate.Family) error {
			return nodes["node-2"].NS.SetDown("veth0")
		}, "reached"},
		"no way back": {func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			back := peerRoute(t, nodes["node-2"], f)
			back.Dst = leases(1)[0].Subnet
			if f == netstate.IPv6 {
				back.Dst = leases(1)[1].Subnet
			}
			back.Gateway = back.Dst.Addr()
			return nodes["node-2"].NS.RouteDel(back)
		}, "arrived, no answer"},
		"the address is the node's own": {func(_ *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			l := leases(2)[0]
			if f == netstate.IPv6 {
				l = leases(2)[1]
			}
			pod := l.Subnet.Addr().Next().Next()
			return nodes["node-1"].NS.AddAddr("lo", netip.PrefixFrom(pod, pod.BitLen()))
		}, "local"},
		"the public IP of another node": {func(t *testing.T, nodes map[string]*topology.Node, f netstate.Family) error {
			r, three := peerRoute(t, nodes["node-1"], f), leases(3)[0]
			if f == netstate.IPv6 {
				three = leases(3)[1]
			}
			return nodes["node-1"].NS.RouteReplace(netstate.Route{
				Dst: r.Dst, Gateway: three.PublicIP, Device: nodes["node-1"].NS.MustIndex(t, topology.Underlay), Priority: r.Priority,
			})
		}, "elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			w, nodes := network(t)
			for i, f := range []netstate.Family{netstate.IPv4, netstate.IPv6} {
				if test.fault != nil {
					netns.Must(t, test.fault(t, nodes, f))
				}
				fate, err := w.Send(t.Context(), "node-1", "node-2", f, traffic.VTEP{MAC: leases(2)[i].MAC, VNI: 1})
				netns.Must(t, err)
				if fate.String() != test.want {
					t.Errorf("%s: the packet %s, want %s; seen: %v", f, fate, test.want, fate.Seen)
				}
			}
		})
	}
}
