//go:build linux

package topology_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"routewatch/deploy/lab/netns"
	"routewatch/deploy/lab/topology"
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

// A datagram goes from pod to pod over two real vxlan devices, in both families.
func TestNetwork_CarriesPods(t *testing.T) {
	netns.Require(t)
	network, err := topology.New(netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("fd00:192:168:1::1/64"))
	netns.Must(t, err)
	t.Cleanup(network.Close)
	one, err := network.AddNode("node-1", leases(1))
	netns.Must(t, err)
	two, err := network.AddNode("node-2", leases(2))
	netns.Must(t, err)
	netns.Must(t, one.Flannel.Apply(leases(2)))
	netns.Must(t, two.Flannel.Apply(leases(1)))
	for _, to := range []string{"10.244.2.2:7", "[fd00:10:244:2::2]:7"} {
		var server, client net.PacketConn
		netns.Must(t, two.Pod.Do(func() (err error) { server, err = net.ListenPacket("udp", to); return err }))
		netns.Must(t, one.Pod.Do(func() (err error) { client, err = net.ListenPacket("udp", ":0"); return err }))
		if !arrives(t, client, server) {
			t.Errorf("no datagram arrived at %s within 10 s", to)
		}
	}
}

// arrives sends a datagram every 50 ms until one is received: a new device
// drops what is sent before the kernel has seen its carrier.
func arrives(t *testing.T, client, server net.PacketConn) bool {
	t.Helper()
	defer client.Close()
	defer server.Close()
	buf := make([]byte, 16)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		_, err := client.WriteTo([]byte("hello"), server.LocalAddr())
		netns.Must(t, err)
		netns.Must(t, server.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		if n, _, err := server.ReadFrom(buf); err == nil {
			return string(buf[:n]) == "hello"
		}
	}
	return false
}

func TestAddNode_RejectsAPublicIPOutsideTheUnderlay(t *testing.T) {
	netns.Require(t)
	network, err := topology.New(netip.MustParsePrefix("10.0.0.1/24"))
	netns.Must(t, err)
	t.Cleanup(network.Close)
	if _, err := network.AddNode("node-1", leases(1)); err == nil {
		t.Error("192.168.1.51 was accepted in 10.0.0.0/24")
	}
}

func TestSingle_HasTheLeasesOfTheSet(t *testing.T) {
	set := &lease.Set{Self: "node-1", Own: leases(1), Leases: append(leases(2), leases(3)...)}
	node := topology.Single(t, set)
	device, err := node.NS.Link("flannel.1")
	netns.Must(t, err)
	if device.MAC != set.Own[0].MAC || device.VXLAN.Local != set.Own[0].PublicIP {
		t.Errorf("flannel.1 = %+v, want the MAC and public IP of %+v", device, set.Own[0])
	}
	routes, err := node.NS.Routes(netstate.IPv4)
	netns.Must(t, err)
	found := map[netip.Prefix]int{}
	for _, r := range routes {
		found[r.Dst] = r.Device
	}
	for _, l := range set.Leases {
		if l.Family == netstate.IPv4 && found[l.Subnet] != device.Index {
			t.Errorf("no route to %s through flannel.1", l.Subnet)
		}
	}
}

func TestUnplug_TakesTheCarrierOnly(t *testing.T) {
	n := topology.Single(t, &lease.Set{Self: "node-1", Own: leases(1)})
	netns.Must(t, n.Unplug())
	link, err := n.NS.Link(topology.Underlay)
	netns.Must(t, err)
	if !link.Up || link.LowerUp {
		t.Errorf("%s is %+v, want it up without a carrier", topology.Underlay, link)
	}
}
