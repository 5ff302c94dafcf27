package expect

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"routewatch/shared/lease"
	"routewatch/shared/netstate"
)

var (
	pfx  = netip.MustParsePrefix
	addr = netip.MustParseAddr
	text = []cmp.Option{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
)

func vtep(n byte) netstate.MAC { return netstate.MAC{0x12, 0, 0, 0, 0, n} }

func dualStack() *lease.Set {
	v := func(peer string, n byte, subnet, ip string) lease.Lease {
		return lease.Lease{
			Peer: peer, Family: netstate.FamilyOf(addr(ip)), Subnet: pfx(subnet), PublicIP: addr(ip),
			BackendType: "vxlan", VNI: 1, MAC: vtep(n),
		}
	}
	return &lease.Set{
		Generation: 7, Self: "node-1", Complete: true, Families: []netstate.Family{netstate.IPv4, netstate.IPv6},
		Own: []lease.Lease{v("node-1", 1, "10.244.1.0/24", "192.168.1.56"), v("node-1", 2, "fd00:10:244:1::/64", "fd00:192::56")},
		Leases: []lease.Lease{
			v("node-3", 5, "10.244.3.0/24", "192.168.1.58"), v("node-3", 6, "fd00:10:244:3::/64", "fd00:192::58"),
			v("node-2", 3, "10.244.2.0/24", "192.168.1.57"),
		},
	}
}

// The chain of a peer, by hand from flannel's vxlan backend.
func TestChainOf_VXLAN(t *testing.T) {
	set := dualStack()
	got := ChainOf(Config{}, set, set.Leases[0])
	want := Chain{
		Lease: set.Leases[0], VNI: 1, Devices: []string{"flannel.1"},
		Forms: []Form{
			{
				Name: "vxlan", Dst: pfx("10.244.3.0/24"), Gateway: addr("10.244.3.0"), Tunnel: true, OnLink: true,
				NeighborMAC: vtep(5), FDBDst: addr("192.168.1.58"),
			},
			{Name: "direct", Dst: pfx("10.244.3.0/24"), Gateway: addr("192.168.1.58")},
		},
	}
	if diff := cmp.Diff(want, got, text...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	off := false
	if got := ChainOf(Config{DirectRouting: &off}, set, set.Leases[1]); len(got.Forms) != 1 || got.Forms[0].Gateway != addr("fd00:10:244:3::") {
		t.Errorf("without DirectRouting: %+v", got.Forms)
	}
}

func TestChainOf_Unsupported(t *testing.T) {
	set := dualStack()
	other := set.Leases[0]
	other.BackendType = "host-gw"
	if got := ChainOf(Config{}, set, other); got.Unsupported == "" || got.Forms != nil {
		t.Errorf("another backend than this node's: %+v", got)
	}
	for _, backend := range []string{"alloc", "extension", "ipsec", "tencent-vpc"} {
		if got := ChainOf(Config{}, &lease.Set{}, lease.Lease{BackendType: backend}); got.Unsupported == "" || got.Unknown != "" {
			t.Errorf("%s: %+v", backend, got)
		}
	}
	// What this version cannot check must not look checked.
	for _, backend := range []string{"", "next-year's"} {
		if got := ChainOf(Config{}, &lease.Set{}, lease.Lease{BackendType: backend}); got.Unknown == "" || got.Unsupported != "" {
			t.Errorf("%q: %+v", backend, got)
		}
	}
}

func TestChainOf_DirectRouting(t *testing.T) {
	set, on := dualStack(), true
	got := ChainOf(Config{DirectRouting: &on}, set, set.Leases[0])
	if len(got.Forms) != 2 || got.Forms[0].Name != "direct" || got.Forms[1].Name != "vxlan" {
		t.Errorf("with DirectRouting flannel tries the direct form first: %+v", got.Forms)
	}
}

func TestChainOf_VNI(t *testing.T) {
	set := dualStack()
	l := set.Leases[0]
	l.VNI = 4096
	if got := ChainOf(Config{}, set, l); got.VNIMismatch == "" || got.VNI != 1 {
		t.Errorf("a peer with VNI 4096 on a node with VNI 1: %+v", got)
	}
	l.VNI = 0 // flannel before v0.14 published none
	if got := ChainOf(Config{}, set, l); got.VNIMismatch != "" {
		t.Errorf("a peer that publishes no VNI: %+v", got)
	}
	if got := ChainOf(Config{VNI: 4096}, set, set.Leases[0]); got.VNIMismatch == "" || got.VNI != 4096 {
		t.Errorf("configured VNI: %+v", got)
	}
}

func TestInterestOf(t *testing.T) {
	got := InterestOf(Config{}, dualStack())
	want := Interest{
		Generation: 7,
		Subnets:    []netip.Prefix{pfx("10.244.1.0/24"), pfx("10.244.2.0/24"), pfx("10.244.3.0/24"), pfx("fd00:10:244:1::/64"), pfx("fd00:10:244:3::/64")},
		Peers:      []netip.Prefix{pfx("10.244.2.0/24"), pfx("10.244.3.0/24"), pfx("fd00:10:244:3::/64")},
		PublicIPs:  []netip.Addr{addr("192.168.1.57"), addr("192.168.1.58"), addr("fd00:192::58")},
		Sources:    []netip.Addr{addr("10.244.1.0"), addr("fd00:10:244:1::")},
		VNIs:       []uint32{1},
		External:   []netip.Addr{addr("192.168.1.56"), addr("fd00:192::56")},
		Devices:    []string{"cni0", "flannel.1", "flannel-v6.1"},
	}
	if diff := cmp.Diff(want, got, text...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A malformed Node names no subnet: there is nothing to ask the kernel for.
func TestInterestOf_Malformed(t *testing.T) {
	set := &lease.Set{Leases: []lease.Lease{{Peer: "node-2", Family: netstate.IPv4, Malformed: "podCIDR is \"x\""}}}
	if got := InterestOf(Config{}, set); got.Subnets != nil || got.PublicIPs != nil {
		t.Errorf("%+v", got)
	}
}

func TestPodAddress(t *testing.T) {
	for subnet, want := range map[string]string{
		"10.244.3.0/24": "10.244.3.2", "10.244.3.4/31": "10.244.3.5", "10.244.3.4/32": "10.244.3.4",
		"fd00::/64": "fd00::2", "255.255.255.255/32": "255.255.255.255",
	} {
		if got := PodAddress(pfx(subnet)); got != addr(want) {
			t.Errorf("PodAddress(%s) = %s, want %s", subnet, got, want)
		}
	}
}
